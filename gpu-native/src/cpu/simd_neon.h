// 4 float lanes of AArch64. Included only by kernels_neon.cpp; see simd_avx512.h for the meaning of each function.
#pragma once
#include <arm_neon.h>

#include <cstdint>
#include <cstring>

namespace {

struct Simd {
  static constexpr int lanes = 4;
  static constexpr int tile_rows = 12;  // 12 x 2 accumulators + 2 weight vectors + broadcasts of 32 registers
  static constexpr int register_rows = tile_rows, pair_block = 1;
  using V = float32x4_t;
  using I = uint32x4_t;

  static V load(const float* p) { return vld1q_f32(p); }
  static void store(float* p, V v) { vst1q_f32(p, v); }
  static V load_part(const float* p, int n) {
    float lane[4] = {0, 0, 0, 0};
    std::memcpy(lane, p, static_cast<size_t>(n) * 4);
    return vld1q_f32(lane);
  }
  static void store_part(float* p, V v, int n) {
    float lane[4];
    vst1q_f32(lane, v);
    std::memcpy(p, lane, static_cast<size_t>(n) * 4);
  }

  static V widen(uint16x4_t half) { return vreinterpretq_f32_u32(vshlq_n_u32(vmovl_u16(half), 16)); }
  static uint16x4_t halves_part(const uint16_t* p, int n) {
    uint16_t lane[4] = {0, 0, 0, 0};
    std::memcpy(lane, p, static_cast<size_t>(n) * 2);
    return vld1_u16(lane);
  }
  static V load(const uint16_t* p) { return widen(vld1_u16(p)); }
  static V load_part(const uint16_t* p, int n) { return widen(halves_part(p, n)); }
  static uint16x4_t narrow(V v) {
    const I u = vreinterpretq_u32_f32(v), top = vshrq_n_u32(u, 16), odd = vandq_u32(top, vdupq_n_u32(1));
    const I near = vshrq_n_u32(vaddq_u32(vaddq_u32(u, odd), vdupq_n_u32(0x7fff)), 16);
    const I quiet = vorrq_u32(top, vdupq_n_u32(0x40));
    return vmovn_u32(vbslq_u32(vceqq_f32(v, v), near, quiet));
  }
  static void store(uint16_t* p, V v) { vst1_u16(p, narrow(v)); }
  static void store_part(uint16_t* p, V v, int n) {
    uint16_t lane[4];
    vst1_u16(lane, narrow(v));
    std::memcpy(p, lane, static_cast<size_t>(n) * 2);
  }
  static V round_bf16(V v) { return widen(narrow(v)); }

  static V zero() { return vdupq_n_f32(0); }
  static V set1(float f) { return vdupq_n_f32(f); }
  static V add(V a, V b) { return vaddq_f32(a, b); }
  static V sub(V a, V b) { return vsubq_f32(a, b); }
  static V mul(V a, V b) { return vmulq_f32(a, b); }
  static V div(V a, V b) { return vdivq_f32(a, b); }
  static V fma(V a, V b, V c) { return vfmaq_f32(c, a, b); }
  static V max(V a, V b) { return vmaxq_f32(a, b); }
  static V min(V a, V b) { return vminq_f32(a, b); }
  static V sqrt(V a) { return vsqrtq_f32(a); }
  static V nearest(V a) { return vrndnq_f32(a); }
  static V times_power_of_two(V a, V n) {
    const int32x4_t exponent = vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127)), 23);
    return vmulq_f32(a, vreinterpretq_f32_s32(exponent));
  }
  static float sum(V v) {
    float lane[4];
    store(lane, v);
    return (lane[0] + lane[2]) + (lane[1] + lane[3]);
  }
  static float largest(V v) { return vmaxvq_f32(v); }
  static V keep(V v, uint32_t bits) {
    const uint32_t each[4] = {1, 2, 4, 8};
    const I set = vtstq_u32(vdupq_n_u32(bits), vld1q_u32(each));
    return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(v), set));
  }

  static I load_words(const void* p) { return vreinterpretq_u32_u8(vld1q_u8(static_cast<const uint8_t*>(p))); }
  static I load_bytes(const void* p, int bytes) {
    uint8_t lane[16] = {0};
    std::memcpy(lane, p, static_cast<size_t>(bytes < 16 ? bytes : 16));
    return vreinterpretq_u32_u8(vld1q_u8(lane));
  }
  static void store_words(void* p, I v) { vst1q_u8(static_cast<uint8_t*>(p), vreinterpretq_u8_u32(v)); }
  static I no_words() { return vdupq_n_u32(0); }
  static I low_bf16(I pair) { return vshlq_n_u32(pair, 16); }
  static I high_bf16(I pair) { return vandq_u32(pair, vdupq_n_u32(0xffff0000u)); }

  static I low_halves(I a, I b) { return vcombine_u32(vget_low_u32(a), vget_low_u32(b)); }
  static I high_halves(I a, I b) { return vcombine_u32(vget_high_u32(a), vget_high_u32(b)); }
  static void transpose(I r[4]) {
    const uint32x4x2_t a = vtrnq_u32(r[0], r[1]), b = vtrnq_u32(r[2], r[3]);
    r[0] = low_halves(a.val[0], b.val[0]);
    r[1] = low_halves(a.val[1], b.val[1]);
    r[2] = high_halves(a.val[0], b.val[0]);
    r[3] = high_halves(a.val[1], b.val[1]);
  }

  static I interleave(I even, I odd) { return vorrq_u32(even, vshlq_n_u32(odd, 16)); }
  static I load_half_words(const uint16_t* p, int n) { return vmovl_u16(halves_part(p, n)); }

  static I words1(uint32_t w) { return vdupq_n_u32(w); }
  static I xor3(I a, I b, I c) { return veorq_u32(veorq_u32(a, b), c); }
  static void multiply(I a, uint32_t m, I& high, I& low) {
    const uint64x2_t p = vmull_u32(vget_low_u32(a), vdup_n_u32(m)), q = vmull_u32(vget_high_u32(a), vdup_n_u32(m));
    low = vcombine_u32(vmovn_u64(p), vmovn_u64(q));
    high = vcombine_u32(vshrn_n_u64(p, 32), vshrn_n_u64(q, 32));
  }
  static I quad_counters(uint32_t first_quad) {
    const uint32_t order[4] = {0, 1, 2, 3};
    return vaddq_u32(vld1q_u32(order), vdupq_n_u32(first_quad));
  }
  static void in_column_order(I w[4]) { transpose(w); }
  static uint32_t at_least(I words, uint32_t threshold) {
    const uint32_t each[4] = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32(vcgeq_u32(words, vdupq_n_u32(threshold)), vld1q_u32(each)));
  }

  static constexpr bool has_pair_dot = false;
  static V pair_dot(V c, I, I) { return c; }
};

}  // namespace
