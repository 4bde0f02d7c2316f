// The three activation formats of the CPU engine as types, and the conversions between stored and computed numbers.
// Every CPU op is templated on one of F64, F32, BF16 below; rounding to BF16 is to nearest even, as in transformers.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#include "../backend.h"

namespace steerlab {

// Upper half of an IEEE float.
struct Bf16 {
  uint16_t bits;
};

inline float to_float(Bf16 v) {
  const uint32_t wide = static_cast<uint32_t>(v.bits) << 16;
  float f;
  std::memcpy(&f, &wide, 4);
  return f;
}

inline Bf16 to_bf16(float f) {
  uint32_t u;
  std::memcpy(&u, &f, 4);
  if ((u & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((u >> 16) | 0x40u)};  // NaN stays NaN
  return {static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16)};
}

// IEEE half to float, subnormals included.
inline float half_to_float(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16;
  const int exponent = (h >> 10) & 31;
  const int mantissa = h & 1023;
  float magnitude;
  if (exponent == 31) magnitude = mantissa ? NAN : INFINITY;
  else if (exponent == 0) magnitude = std::ldexp(static_cast<float>(mantissa), -24);
  else magnitude = std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
  return sign ? -magnitude : magnitude;
}

// Store: what lies in activation buffers. Master: LoRA parameters, gradients, logits. Calc: elementwise arithmetic.
struct F64 {
  using Store = double;
  using Master = double;
  using Calc = double;
  static constexpr DType type = DType::F64;
  static Calc load(Store v) { return v; }
  static Store store(Calc v) { return v; }
};
struct F32 {
  using Store = float;
  using Master = float;
  using Calc = float;
  static constexpr DType type = DType::F32;
  static Calc load(Store v) { return v; }
  static Store store(Calc v) { return v; }
};
struct BF16 {
  using Store = Bf16;
  using Master = float;
  using Calc = float;
  static constexpr DType type = DType::BF16;
  static Calc load(Store v) { return to_float(v); }
  static Store store(Calc v) { return to_bf16(v); }
};

// The value after a trip through the stored format.
template <class A>
inline typename A::Calc rounded(typename A::Calc v) {
  return A::load(A::store(v));
}

}  // namespace steerlab
