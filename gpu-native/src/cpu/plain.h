// Every op of backend.h in plain loops: the definition the vector kernels are tested against, always built, isa "plain".
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

  // plain_rows.h
  void embed(void* h, const Weight& table, const int32_t* tokens, int n) override;
  void residual_norm(void* h, const void* delta, const SteerTable* steer, int layer, void* x, const float* weight, float eps,
                     int n, int C) override;
  void norm_backward(void* dh, const void* dx, const void* h, const float* weight, float eps, int n, int C) override;
  void swiglu(void* out, const void* gu, int n, int F) override;
  void swiglu_backward(void* dgu, const void* dout, const void* gu, int n, int F) override;
  void rope_store(void* qkv, void* k_new, void* v_new, const float* cos, const float* sin, const int32_t* positions,
                  const int32_t* slot, int n, HeadShape s) override;
  void rope_backward(void* dqkv, const float* cos, const float* sin, const int32_t* positions, int n, HeadShape s) override;
  void gather_rows(void* dst, const void* src, const int32_t* index, int n, int width) override;
  void scatter_add_rows(void* dst, const void* src, const int32_t* index, int n, int width) override;
  void to_f32(float* dst, const void* src, size_t count) override;
  void add(void* a, const void* b, size_t count) override;

  // plain_linear.h
  void linear(void* y, int ldy, const void* x, int n, const LinearPart* parts, int n_parts, const DropoutKey* dropout) override;
  void linear_backward(void* dx, const void* dy, int ldy, const void* x, int n, const LinearPart* parts, const LoraGrad* grads,
                       int n_parts, const DropoutKey* dropout, const int32_t* example_offsets, int examples) override;
  void logits(void* logits, const void* x, const Weight& head, int n) override;
  void logits_backward(void* dx, const void* dlogits, const Weight& head, const int32_t* labels, int n) override;

  // plain_attention.h
  void attention(void* out, void* lse, const void* q_base, int ldq, const AttentionCall& call, HeadShape s) override;
  void attention_backward(void* dqkv, int n_tail, const int32_t* own_begin, const void* dout, const void* out, const void* lse,
                          const void* q_base, int ldq, const AttentionCall& call, HeadShape s) override;

  // plain_loss.h
  void label_loss(LabelResult* host_out, void* dlogits, const void* logits, const int32_t* labels, const int32_t* targets,
                  float mass_weight, double scale, int n, int V) override;
  double optimizer_step(void* p, void* m, void* v, const void* g, size_t count, const AdamW& hyper) override;
  void score(const void* logits, int n, int V, const int32_t* host_ids, const int32_t* host_id_offsets, int top_k,
             double* host_logsumexp, double* host_id_logprobs, int32_t* host_top_ids, double* host_top_logprobs) override;
  void sample(int32_t* host_tokens, const void* logits, int n, int V, float temperature, float top_p,
              const SampleRow* host_rows) override;

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
