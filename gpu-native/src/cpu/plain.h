// Every op of ops.h in plain loops: the definition the vector kernels are tested against, always built, isa "plain".
//
// Template parameter A is F64, F32 or BF16 (number.h). Sums run in double in index order, elementwise arithmetic in A::Calc.
// The bodies are in plain_*.h, backward beside forward; plain.cpp instantiates the three classes.
#pragma once
#include <algorithm>
#include <vector>

#include "../rng.h"
#include "cpu_backend.h"

namespace steerlab {

template <class A>
class PlainBackend : public CpuBackend {
 public:
  using Store = typename A::Store;
  using Master = typename A::Master;
  using Calc = typename A::Calc;

  explicit PlainBackend(int threads, const std::string& isa = "plain") : CpuBackend(A::type, threads, isa) {}

  // plain_rows.h, plain_linear.h, plain_attention.h, plain_loss.h
  STEERLAB_OPS(STEERLAB_OVERRIDE)

 protected:
  static const Store* acts(const void* p) { return static_cast<const Store*>(p); }
  static Store* acts(void* p) { return static_cast<Store*>(p); }
  static const Master* masters(const void* p) { return static_cast<const Master*>(p); }
  static Master* masters(void* p) { return static_cast<Master*>(p); }
};

// Row `row` of a weight matrix, widened.
inline void weight_row(const Weight& w, int64_t row, double* out) {
  const int64_t at = row * w.in;
  for (int k = 0; k < w.in; ++k) {
    if (w.type == DType::F64) out[k] = static_cast<const double*>(w.data)[at + k];
    else if (w.type == DType::F32) out[k] = static_cast<const float*>(w.data)[at + k];
    else out[k] = to_float(static_cast<const Bf16*>(w.data)[at + k]);
  }
}

// Factor of element (token t, column) under dropout p at `site`: 0 or 1 / (1 - p).
inline double dropout_factor(const DropoutKey& key, uint32_t site, float p, int t, int column) {
  const Philox4 words = dropout_words(key.seed, key.step, site, static_cast<uint32_t>(key.token_example[t]),
                                      static_cast<uint32_t>(key.token_position[t]), static_cast<uint32_t>(column / 4));
  return words.w[column % 4] < dropout_threshold(p) ? 0.0 : 1.0 / (1.0 - static_cast<double>(p));
}

}  // namespace steerlab
