// 16 float lanes. Included only by kernels_avx512*.cpp, which are compiled with the flags it needs; the anonymous namespace
// keeps the linker from sharing these functions with code for other processors.
#pragma once
// GCC 12's own headers initialise "undefined" vectors from themselves.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#include <cstdint>

namespace {

struct Simd {
  static constexpr int lanes = 16;
#ifdef __AMX_BF16__
  static constexpr int tile_rows = 32;      // two matrix registers of 16 rows
  static constexpr int register_rows = 11;  // three rounds for a tile in f32
  static constexpr int pair_block = 16;
#else
  static constexpr int tile_rows = 14;  // 14 x 2 accumulators + 2 weight vectors + 1 broadcast of 32 registers
  static constexpr int register_rows = tile_rows, pair_block = 1;
#endif
  using V = __m512;
  using I = __m512i;

  static V load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, V v) { _mm512_storeu_ps(p, v); }
  static __mmask16 first(int n) { return static_cast<__mmask16>((1u << n) - 1); }
  static V load_part(const float* p, int n) { return _mm512_maskz_loadu_ps(first(n), p); }
  static void store_part(float* p, V v, int n) { _mm512_mask_storeu_ps(p, first(n), v); }

  static V widen(__m256i half) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16)); }
  static V load(const uint16_t* p) { return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
  static V load_part(const uint16_t* p, int n) { return widen(_mm256_maskz_loadu_epi16(first(n), p)); }
  static __m256i narrow(V v) {
#ifdef __AVX512BF16__
    return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(v));
#else
    const I u = _mm512_castps_si512(v), odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    const I near = _mm512_srli_epi32(_mm512_add_epi32(_mm512_add_epi32(u, odd), _mm512_set1_epi32(0x7fff)), 16);
    const I quiet = _mm512_or_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(0x40));
    return _mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(near, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), quiet));
#endif
  }
  static void store(uint16_t* p, V v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow(v)); }
  static void store_part(uint16_t* p, V v, int n) { _mm256_mask_storeu_epi16(p, first(n), narrow(v)); }
  static V round_bf16(V v) { return widen(narrow(v)); }

  static V zero() { return _mm512_setzero_ps(); }
  static V set1(float f) { return _mm512_set1_ps(f); }
  static V add(V a, V b) { return _mm512_add_ps(a, b); }
  static V sub(V a, V b) { return _mm512_sub_ps(a, b); }
  static V mul(V a, V b) { return _mm512_mul_ps(a, b); }
  static V div(V a, V b) { return _mm512_div_ps(a, b); }
  static V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }  // a b + c
  static V max(V a, V b) { return _mm512_max_ps(a, b); }
  static V min(V a, V b) { return _mm512_min_ps(a, b); }
  static V sqrt(V a) { return _mm512_sqrt_ps(a); }
  static V nearest(V a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static V times_power_of_two(V a, V n) { return _mm512_scalef_ps(a, n); }
  static float sum(V v) { return _mm512_reduce_add_ps(v); }  // halves onto halves
  static float largest(V v) { return _mm512_reduce_max_ps(v); }
  // v where bit i of `bits` is set, else 0
  static V keep(V v, uint32_t bits) { return _mm512_maskz_mov_ps(static_cast<__mmask16>(bits), v); }

  // ---- 32-bit words ----
  static I load_words(const void* p) { return _mm512_loadu_si512(p); }
  static I load_bytes(const void* p, int bytes) {  // zero beyond
    const __mmask64 mask = bytes >= 64 ? ~0ull : (1ull << bytes) - 1;
    return _mm512_maskz_loadu_epi8(mask, p);
  }
  static void store_words(void* p, I v) { _mm512_storeu_si512(p, v); }
  static I no_words() { return _mm512_setzero_si512(); }
  static I low_bf16(I pair) { return _mm512_slli_epi32(pair, 16); }
  static I high_bf16(I pair) { return _mm512_and_si512(pair, _mm512_set1_epi32(static_cast<int>(0xffff0000u))); }

  // r[i] lane j <-> r[j] lane i
  static void transpose(I r[16]) {
    I a[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i += 2) {
      a[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
      a[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; i += 4) {
      r[i] = _mm512_unpacklo_epi64(a[i], a[i + 2]);
      r[i + 1] = _mm512_unpackhi_epi64(a[i], a[i + 2]);
      r[i + 2] = _mm512_unpacklo_epi64(a[i + 1], a[i + 3]);
      r[i + 3] = _mm512_unpackhi_epi64(a[i + 1], a[i + 3]);
    }
    // now r[4 g + c] holds, in 128-bit lane L, column 4 L + c of rows 4 g .. 4 g + 3
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
      a[c] = _mm512_shuffle_i32x4(r[c], r[4 + c], 0x88);
      a[4 + c] = _mm512_shuffle_i32x4(r[c], r[4 + c], 0xdd);
      a[8 + c] = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0x88);
      a[12 + c] = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0xdd);
    }
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
      r[c] = _mm512_shuffle_i32x4(a[c], a[8 + c], 0x88);
      r[8 + c] = _mm512_shuffle_i32x4(a[c], a[8 + c], 0xdd);
      r[4 + c] = _mm512_shuffle_i32x4(a[4 + c], a[12 + c], 0x88);
      r[12 + c] = _mm512_shuffle_i32x4(a[4 + c], a[12 + c], 0xdd);
    }
  }

  // Two rows of 16 bf16 as 16 pairs (even row in the low half).
  static I interleave(I even, I odd) {  // each holds 16 bf16 widened to the low half of a word
    return _mm512_or_si512(even, _mm512_slli_epi32(odd, 16));
  }
  static I load_half_words(const uint16_t* p, int n) {  // n bf16, zero extended, zero beyond
    return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first(n), p));
  }

  // ---- Philox ----
  static I words1(uint32_t w) { return _mm512_set1_epi32(static_cast<int>(w)); }
  static I xor3(I a, I b, I c) { return _mm512_ternarylogic_epi32(a, b, c, 0x96); }
  static void multiply(I a, uint32_t m, I& high, I& low) {  // 32 x 32 -> 64 bits per lane
    const I factor = _mm512_set1_epi32(static_cast<int>(m));
    const I even = _mm512_mul_epu32(a, factor), odd = _mm512_mul_epu32(_mm512_srli_epi64(a, 32), factor);
    low = _mm512_mask_shuffle_epi32(even, 0xaaaa, odd, _MM_PERM_CCAA);
    high = _mm512_mask_shuffle_epi32(odd, 0x5555, even, _MM_PERM_DDBB);
  }
  // Counters of the 16 quads of a block of 64 columns, ordered so that in_column_order() needs no cross-lane moves.
  static I quad_counters(uint32_t first_quad) {
    const I order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm512_add_epi32(order, _mm512_set1_epi32(static_cast<int>(first_quad)));
  }
  // w[i] = word i of every quad  ->  w[j] = words of columns 16 j .. 16 j + 15
  static void in_column_order(I w[4]) {
    const I a = _mm512_unpacklo_epi32(w[0], w[1]), b = _mm512_unpackhi_epi32(w[0], w[1]);
    const I c = _mm512_unpacklo_epi32(w[2], w[3]), d = _mm512_unpackhi_epi32(w[2], w[3]);
    w[0] = _mm512_unpacklo_epi64(a, c);
    w[1] = _mm512_unpackhi_epi64(a, c);
    w[2] = _mm512_unpacklo_epi64(b, d);
    w[3] = _mm512_unpackhi_epi64(b, d);
  }
  // bit i: lane i >= threshold, unsigned
  static uint32_t at_least(I words, uint32_t threshold) {
    return _mm512_cmp_epu32_mask(words, _mm512_set1_epi32(static_cast<int>(threshold)), _MM_CMPINT_NLT);
  }

#ifdef __AVX512BF16__
  static constexpr bool has_pair_dot = true;
  // c + even product + odd product of each pair, each added with one rounding
  static V pair_dot(V c, I a, I b) { return _mm512_dpbf16_ps(c, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b)); }
#else
  static constexpr bool has_pair_dot = false;
  static V pair_dot(V c, I, I) { return c; }
#endif
};

}  // namespace
