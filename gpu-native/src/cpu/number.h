// The three activation formats of the CPU engine as types: every CPU op is templated on one of F64, F32, BF16 below.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#include "../backend.h"
#include "../halves.h"

namespace steerlab {

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
