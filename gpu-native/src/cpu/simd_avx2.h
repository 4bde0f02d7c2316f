// 8 float lanes. Included only by kernels_avx2.cpp; see simd_avx512.h for the meaning of each function.
#pragma once
#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace {

struct Simd {
  static constexpr int lanes = 8;
  static constexpr int tile_rows = 6;  // 6 x 2 accumulators + 2 weight vectors + 1 broadcast of 16 registers
  static constexpr int register_rows = tile_rows, pair_block = 1;
  using V = __m256;
  using I = __m256i;

  static I first(int n) { return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)); }
  static V load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, V v) { _mm256_storeu_ps(p, v); }
  static V load_part(const float* p, int n) { return _mm256_maskload_ps(p, first(n)); }
  static void store_part(float* p, V v, int n) { _mm256_maskstore_ps(p, first(n), v); }

  static V widen(__m128i half) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16)); }
  static __m128i halves_part(const uint16_t* p, int n) {
    __m128i half = _mm_setzero_si128();
    std::memcpy(&half, p, static_cast<size_t>(n) * 2);
    return half;
  }
  static V load(const uint16_t* p) { return widen(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
  static V load_part(const uint16_t* p, int n) { return widen(halves_part(p, n)); }
  static __m128i narrow(V v) {
    const I u = _mm256_castps_si256(v), top = _mm256_srli_epi32(u, 16), odd = _mm256_and_si256(top, _mm256_set1_epi32(1));
    const I near = _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(u, odd), _mm256_set1_epi32(0x7fff)), 16);
    const I quiet = _mm256_or_si256(top, _mm256_set1_epi32(0x40));
    const I is_nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    const I words = _mm256_blendv_epi8(near, quiet, is_nan);
    return _mm256_castsi256_si128(_mm256_permute4x64_epi64(_mm256_packus_epi32(words, words), 0xd8));
  }
  static void store(uint16_t* p, V v) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), narrow(v)); }
  static void store_part(uint16_t* p, V v, int n) {
    const __m128i half = narrow(v);
    std::memcpy(p, &half, static_cast<size_t>(n) * 2);
  }
  static V round_bf16(V v) { return widen(narrow(v)); }

  static V zero() { return _mm256_setzero_ps(); }
  static V set1(float f) { return _mm256_set1_ps(f); }
  static V add(V a, V b) { return _mm256_add_ps(a, b); }
  static V sub(V a, V b) { return _mm256_sub_ps(a, b); }
  static V mul(V a, V b) { return _mm256_mul_ps(a, b); }
  static V div(V a, V b) { return _mm256_div_ps(a, b); }
  static V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
  static V max(V a, V b) { return _mm256_max_ps(a, b); }
  static V min(V a, V b) { return _mm256_min_ps(a, b); }
  static V sqrt(V a) { return _mm256_sqrt_ps(a); }
  static V nearest(V a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static V times_power_of_two(V a, V n) {  // n within [-126, 127]
    const I exponent = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return _mm256_mul_ps(a, _mm256_castsi256_ps(exponent));
  }
  static float sum(V v) {
    float lane[8];
    store(lane, v);
    for (int width = 4; width; width /= 2)
      for (int i = 0; i < width; ++i) lane[i] += lane[i + width];
    return lane[0];
  }
  static float largest(V v) {
    float lane[8], best;
    store(lane, v);
    best = lane[0];
    for (int i = 1; i < 8; ++i) best = lane[i] > best ? lane[i] : best;
    return best;
  }
  static V keep(V v, uint32_t bits) {
    const I bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const I set = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(static_cast<int>(bits)), bit), bit);
    return _mm256_and_ps(v, _mm256_castsi256_ps(set));
  }

  static I load_words(const void* p) { return _mm256_loadu_si256(static_cast<const I*>(p)); }
  static I load_bytes(const void* p, int bytes) {
    I v = _mm256_setzero_si256();
    std::memcpy(&v, p, static_cast<size_t>(bytes < 32 ? bytes : 32));
    return v;
  }
  static void store_words(void* p, I v) { _mm256_storeu_si256(static_cast<I*>(p), v); }
  static I no_words() { return _mm256_setzero_si256(); }
  static I low_bf16(I pair) { return _mm256_slli_epi32(pair, 16); }
  static I high_bf16(I pair) { return _mm256_and_si256(pair, _mm256_set1_epi32(static_cast<int>(0xffff0000u))); }

  static void transpose(I r[8]) {
    I a[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i += 2) {
      a[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
      a[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) {
      r[i] = _mm256_unpacklo_epi64(a[i], a[i + 2]);
      r[i + 1] = _mm256_unpackhi_epi64(a[i], a[i + 2]);
      r[i + 2] = _mm256_unpacklo_epi64(a[i + 1], a[i + 3]);
      r[i + 3] = _mm256_unpackhi_epi64(a[i + 1], a[i + 3]);
    }
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
      a[c] = _mm256_permute2x128_si256(r[c], r[4 + c], 0x20);
      a[4 + c] = _mm256_permute2x128_si256(r[c], r[4 + c], 0x31);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) r[i] = a[i];
  }

  static I interleave(I even, I odd) { return _mm256_or_si256(even, _mm256_slli_epi32(odd, 16)); }
  static I load_half_words(const uint16_t* p, int n) { return _mm256_cvtepu16_epi32(halves_part(p, n)); }

  static I words1(uint32_t w) { return _mm256_set1_epi32(static_cast<int>(w)); }
  static I xor3(I a, I b, I c) { return _mm256_xor_si256(_mm256_xor_si256(a, b), c); }
  static void multiply(I a, uint32_t m, I& high, I& low) {
    const I factor = _mm256_set1_epi32(static_cast<int>(m));
    const I even = _mm256_mul_epu32(a, factor), odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), factor);
    low = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa);
    high = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
  }
  static I quad_counters(uint32_t first_quad) {
    return _mm256_add_epi32(_mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7), _mm256_set1_epi32(static_cast<int>(first_quad)));
  }
  static void in_column_order(I w[4]) {
    const I a = _mm256_unpacklo_epi32(w[0], w[1]), b = _mm256_unpackhi_epi32(w[0], w[1]);
    const I c = _mm256_unpacklo_epi32(w[2], w[3]), d = _mm256_unpackhi_epi32(w[2], w[3]);
    w[0] = _mm256_unpacklo_epi64(a, c);
    w[1] = _mm256_unpackhi_epi64(a, c);
    w[2] = _mm256_unpacklo_epi64(b, d);
    w[3] = _mm256_unpackhi_epi64(b, d);
  }
  static uint32_t at_least(I words, uint32_t threshold) {
    const I limit = _mm256_set1_epi32(static_cast<int>(threshold));
    const I yes = _mm256_cmpeq_epi32(_mm256_max_epu32(words, limit), words);
    return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(yes)));
  }

  static constexpr bool has_pair_dot = false;
  static V pair_dot(V c, I, I) { return c; }
};

}  // namespace
