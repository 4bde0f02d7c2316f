// Packing and matrix multiplication, templated on the Simd of the including kernels_<isa>.cpp. Layouts: kernels.h.
#pragma once
#include "kernels.h"

namespace {

using steerlab::Bf16;

inline const uint16_t* raw(const Bf16* p) { return reinterpret_cast<const uint16_t*>(p); }
inline uint16_t* raw(Bf16* p) { return reinterpret_cast<uint16_t*>(p); }
inline const float* raw(const float* p) { return p; }
inline float* raw(float* p) { return p; }

// Distance ahead, in bytes, at which packing asks for the lines of each row.
constexpr int kPrefetch = 512;

// Loads `words` (<= lanes) 32-bit words starting `at` bytes into each of `rows` rows and transposes them.
inline void load_transposed(Simd::I r[Simd::lanes], const char* src, int64_t row_bytes, int rows, int64_t at, int bytes) {
  constexpr int full = Simd::lanes * 4;
  for (int i = 0; i < rows; ++i) {
    const char* p = src + i * row_bytes + at;
    __builtin_prefetch(p + kPrefetch);
    r[i] = bytes >= full ? Simd::load_words(p) : Simd::load_bytes(p, bytes);
  }
  for (int i = rows; i < Simd::lanes; ++i) r[i] = Simd::no_words();
  Simd::transpose(r);
}

// 32-bit words as they are: f32 elements, or bf16 pairs. `bytes` is the length of a row.
inline void pack_words(char* dst, int stride, const char* src, int64_t row_bytes, int rows, int64_t bytes) {
  Simd::I r[Simd::lanes];
  for (int64_t at = 0; at < bytes; at += Simd::lanes * 4) {
    const int64_t left = bytes - at;
    load_transposed(r, src, row_bytes, rows, at, static_cast<int>(left < Simd::lanes * 4 ? left : Simd::lanes * 4));
    const int words = static_cast<int>(left >= Simd::lanes * 4 ? Simd::lanes : (left + 3) / 4);
    char* to = dst + at * stride;
    if (words == Simd::lanes) {
#pragma GCC unroll 16
      for (int i = 0; i < Simd::lanes; ++i) Simd::store_words(to + static_cast<int64_t>(i) * stride * 4, r[i]);
    } else {
      for (int i = 0; i < words; ++i) Simd::store_words(to + static_cast<int64_t>(i) * stride * 4, r[i]);
    }
  }
}

inline void pack_f32(float* dst, int stride, const float* src, int64_t lds, int rows, int k) {
  pack_words(reinterpret_cast<char*>(dst), stride, reinterpret_cast<const char*>(src), lds * 4, rows, int64_t{4} * k);
}

inline void pack_pairs(uint32_t* dst, int stride, const Bf16* src, int64_t lds, int rows, int k) {
  pack_words(reinterpret_cast<char*>(dst), stride, reinterpret_cast<const char*>(src), lds * 2, rows, int64_t{2} * k);
}

inline void pack_bf16(float* dst, int stride, const Bf16* src, int64_t lds, int rows, int k) {
  Simd::I r[Simd::lanes];
  for (int at = 0; at < k; at += Simd::lanes * 2) {
    const int left = k - at < Simd::lanes * 2 ? k - at : Simd::lanes * 2;
    load_transposed(r, reinterpret_cast<const char*>(src), lds * 2, rows, int64_t{2} * at, left * 2);
    float* to = dst + static_cast<int64_t>(at) * stride;
    for (int i = 0; 2 * i < left; ++i) {
      Simd::store_words(to + static_cast<int64_t>(2 * i) * stride, Simd::low_bf16(r[i]));
      if (2 * i + 1 < left) Simd::store_words(to + static_cast<int64_t>(2 * i + 1) * stride, Simd::high_bf16(r[i]));
    }
  }
}

template <class E>
inline void copy_panel(float* dst, const E* src, int64_t lds, int k, int columns) {
  constexpr int L = Simd::lanes;
  for (int i = 0; i < k; ++i, dst += 2 * L, src += lds) {
    __builtin_prefetch(src + 8 * lds);
    for (int v = 0; v < 2; ++v) {
      const int n = columns - v * L;
      Simd::store(dst + v * L, n >= L ? Simd::load(raw(src) + v * L) : n > 0 ? Simd::load_part(raw(src) + v * L, n) : Simd::zero());
    }
  }
}

inline void copy_pairs(uint32_t* dst, const Bf16* src, int64_t lds, int k, int columns) {
  constexpr int L = Simd::lanes;
  for (int i = 0; i < k; i += 2, dst += 2 * L, src += 2 * lds) {
    __builtin_prefetch(src + 8 * lds);
    __builtin_prefetch(src + 9 * lds);
    for (int v = 0; v < 2; ++v) {
      const int n = columns - v * L < L ? columns - v * L : L;
      if (n <= 0) {
        Simd::store_words(dst + v * L, Simd::no_words());
        continue;
      }
      const Simd::I even = Simd::load_half_words(raw(src) + v * L, n);
      const Simd::I odd = i + 1 < k ? Simd::load_half_words(raw(src) + lds + v * L, n) : Simd::no_words();
      Simd::store_words(dst + v * L, Simd::interleave(even, odd));
    }
  }
}

// One f32 step: acc + x * w with a single rounding.
struct ScalarStep {
  using Word = float;
  using Wide = Simd::V;
  static Wide load(const float* p) { return Simd::load(p); }
  static Wide broadcast(const float* p) { return Simd::set1(*p); }
  static Simd::V step(Simd::V acc, Wide x, Wide w) { return Simd::fma(x, w, acc); }
};

// One pair step: acc + x0 w0 + x1 w1.
struct PairStep {
  using Word = uint32_t;
  using Wide = Simd::I;
  static Wide load(const uint32_t* p) { return Simd::load_words(p); }
  static Wide broadcast(const uint32_t* p) { return Simd::words1(*p); }
  static Simd::V step(Simd::V acc, Wide x, Wide w) { return Simd::pair_dot(acc, x, w); }
};

template <class Step, int R, int NV>
inline void gemm_tile(float* c, int64_t ldc, const typename Step::Word* tile, const typename Step::Word* panel, int steps, bool accumulate) {
  constexpr int L = Simd::lanes, T = Simd::tile_rows;
  Simd::V acc[R][NV];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < NV; ++v) acc[r][v] = accumulate ? Simd::load(c + r * ldc + v * L) : Simd::zero();
  for (int k = 0; k < steps; ++k, tile += T, panel += 2 * L) {
    typename Step::Wide w[NV];
#pragma GCC unroll 2
    for (int v = 0; v < NV; ++v) w[v] = Step::load(panel + v * L);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const typename Step::Wide x = Step::broadcast(tile + r);
#pragma GCC unroll 2
      for (int v = 0; v < NV; ++v) acc[r][v] = Step::step(acc[r][v], x, w[v]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < NV; ++v) Simd::store(c + r * ldc + v * L, acc[r][v]);
}

template <class Step, int R>
inline void gemm_rest(float* c, int64_t ldc, const typename Step::Word* tile, const typename Step::Word* panel, int rows, int steps,
                      int vectors, bool accumulate) {
  if (rows == R) {
    if (vectors == 1) gemm_tile<Step, R, 1>(c, ldc, tile, panel, steps, accumulate);
    else gemm_tile<Step, R, 2>(c, ldc, tile, panel, steps, accumulate);
  } else if constexpr (R > 1) {
    gemm_rest<Step, R - 1>(c, ldc, tile, panel, rows, steps, vectors, accumulate);
  }
}

template <class Step>
inline void gemm(float* c, int64_t ldc, const typename Step::Word* tiles, int64_t tile_stride, const typename Step::Word* panel, int rows,
                 int steps, int vectors, bool accumulate) {
  constexpr int T = Simd::tile_rows;
  for (; rows > 0; rows -= T, tiles += tile_stride, c += T * ldc)
    gemm_rest<Step, T>(c, ldc, tiles, panel, rows < T ? rows : T, steps, vectors, accumulate);
}

}  // namespace
