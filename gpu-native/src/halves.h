// Numbers of 16 bits: bf16 as it is computed with, IEEE halves as checkpoints hold them. Shared by host and device code.
#pragma once
#include <cstdint>
#include <cstring>

#include "rng.h"

namespace steerlab {

STEERLAB_HD inline float float_of_bits(uint32_t u) {
#ifdef __CUDA_ARCH__
  return __uint_as_float(u);
#else
  float f;
  std::memcpy(&f, &u, 4);
  return f;
#endif
}
STEERLAB_HD inline uint32_t bits_of_float(float f) {
#ifdef __CUDA_ARCH__
  return __float_as_uint(f);
#else
  uint32_t u;
  std::memcpy(&u, &f, 4);
  return u;
#endif
}

// Upper half of an IEEE float.
struct Bf16 {
  uint16_t bits;
};

STEERLAB_HD inline float to_float(Bf16 v) { return float_of_bits(static_cast<uint32_t>(v.bits) << 16); }

// To nearest even, as in transformers.
STEERLAB_HD inline Bf16 to_bf16(float f) {
#ifdef __CUDA_ARCH__
  Bf16 out;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(out.bits) : "f"(f));
  return out;
#else
  const uint32_t u = bits_of_float(f);
  if ((u & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((u >> 16) | 0x40u)};  // NaN stays NaN
  return {static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16)};
#endif
}

// IEEE half to float, subnormals included.
STEERLAB_HD inline float half_to_float(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16, exponent = (h >> 10) & 31u, mantissa = h & 1023u;
  if (exponent == 31) return float_of_bits(sign | 0x7f800000u | (mantissa << 13));
  if (exponent) return float_of_bits(sign | ((exponent + 112u) << 23) | (mantissa << 13));
  const float magnitude = static_cast<float>(mantissa) * (1.0f / 16777216.0f);
  return sign ? -magnitude : magnitude;
}

}  // namespace steerlab
