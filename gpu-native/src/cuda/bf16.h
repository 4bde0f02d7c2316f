// Reads and writes of four neighbouring elements of either activation type.
//
// Kernels compute in f32: widen on load, narrow (round to nearest even) on store. A quad is the unit of memory access (8 bytes
// of bf16, 16 of f32) because one Philox call serves four columns. Rows whose width or address forbids it go one by one.
#pragma once
#include <cstdint>
#include <cstring>

#include "../halves.h"

namespace steerlab {

using bf16 = Bf16;

STEERLAB_HD inline float widen(float v) { return v; }
STEERLAB_HD inline float widen(bf16 v) { return to_float(v); }

template <class T>
STEERLAB_HD inline T narrow(float v);
template <>
STEERLAB_HD inline float narrow<float>(float v) { return v; }
template <>
STEERLAB_HD inline bf16 narrow<bf16>(float v) { return to_bf16(v); }

// The value that storing as T and reading back gives: the rounding points of the seam.
template <class T>
STEERLAB_HD inline float rounded(float v) { return widen(narrow<T>(v)); }

struct alignas(8) Bf16Quad {
  bf16 v[4];
};
struct alignas(16) FloatQuad {
  float v[4];
};

// p[0..3] with one access (p aligned to the quad), or only the first `count` elements one by one, the rest 0.
STEERLAB_HD inline void load_quad(float out[4], const float* p) {
  const FloatQuad q = *reinterpret_cast<const FloatQuad*>(p);
  for (int i = 0; i < 4; ++i) out[i] = q.v[i];
}
STEERLAB_HD inline void load_quad(float out[4], const bf16* p) {
  const Bf16Quad q = *reinterpret_cast<const Bf16Quad*>(p);
  for (int i = 0; i < 4; ++i) out[i] = widen(q.v[i]);
}
template <class T>
STEERLAB_HD inline void load_quad(float out[4], const T* p, int count, bool aligned) {
  if (aligned && count >= 4) {
    load_quad(out, p);
    return;
  }
  for (int i = 0; i < 4; ++i) out[i] = i < count ? widen(p[i]) : 0.0f;
}

STEERLAB_HD inline void store_quad(float* p, const float v[4]) {
  FloatQuad q;
  for (int i = 0; i < 4; ++i) q.v[i] = v[i];
  *reinterpret_cast<FloatQuad*>(p) = q;
}
STEERLAB_HD inline void store_quad(bf16* p, const float v[4]) {
  Bf16Quad q;
  for (int i = 0; i < 4; ++i) q.v[i] = to_bf16(v[i]);
  *reinterpret_cast<Bf16Quad*>(p) = q;
}
template <class T>
STEERLAB_HD inline void store_quad(T* p, const float v[4], int count, bool aligned) {
  if (aligned && count >= 4) {
    store_quad(p, v);
    return;
  }
  for (int i = 0; i < 4; ++i)
    if (i < count) p[i] = narrow<T>(v[i]);
}

// Two bf16 in one register, the first in the low half: operands of the matrix instructions.
STEERLAB_HD inline uint32_t pack_bf16(float low, float high) {
  return static_cast<uint32_t>(to_bf16(low).bits) | (static_cast<uint32_t>(to_bf16(high).bits) << 16);
}

// True when quads of rows `stride` elements apart may be read whole from p.
template <class T>
inline bool quads_aligned(const T* p, int64_t stride) {
  return stride % 4 == 0 && reinterpret_cast<uintptr_t>(p) % (4 * sizeof(T)) == 0;
}

}  // namespace steerlab
