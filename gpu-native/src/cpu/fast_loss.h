// Label loss, AdamW and scoring on the vector engine; formulas in plain_loss.h. Sampling stays with the plain loops.
#pragma once
#include "fast.h"

namespace steerlab {

// Logarithm of the sum of exps of one row of logits; f32 exps, double sum.
inline double row_log_sum_exp(const Kernels& k, const float* l, int V) {
  const float top = k.largest(l, V);
  if (!std::isfinite(top)) return top;
  return top + std::log(k.sum_exp(l, top, V));
}

template <class A>
void FastBackend<A>::label_loss(LabelResult* host_out, void* dlogits, const void* logits, const int32_t* labels,
                                const int32_t* targets, float mass_weight, double scale, int n, int V) {
  ran("label_loss");
  pool().run(n, [&](int64_t i, int) {
    const float* l = static_cast<const float*>(logits) + i * V;
    const int32_t* pair = labels + 2 * i;
    const double a = l[pair[0]], b = l[pair[1]], top = std::max(a, b);
    const double both = top + std::log(std::exp(a - top) + std::exp(b - top)), all = row_log_sum_exp(k_, l, V);
    host_out[i] = {both - (targets[i] ? b : a) - mass_weight * (both - all), {a - all, b - all}, both - all};
    if (!dlogits) return;
    float* d = static_cast<float*>(dlogits) + i * V;
    if (mass_weight == 0) std::memset(d, 0, sizeof(float) * static_cast<size_t>(V));
    else k_.exps(d, l, static_cast<float>(all), static_cast<float>(scale * mass_weight), V);
    const double label_logits[2] = {a, b};
    for (int j = 0; j < 2; ++j)
      d[pair[j]] = static_cast<float>(scale * (mass_weight * std::exp(label_logits[j] - all) +
                                               (1 - mass_weight) * std::exp(label_logits[j] - both) - (targets[i] == j)));
  });
}

template <class A>
double FastBackend<A>::optimizer_step(void* p, void* m, void* v, const void* g, size_t count, const AdamW& hyper) {
  ran("optimizer_step");
  constexpr int64_t kBlock = 4096;
  const int64_t n = static_cast<int64_t>(count);
  std::vector<double> squares(static_cast<size_t>((n + kBlock - 1) / kBlock));
  const float* grad = static_cast<const float*>(g);
  pool().run_ranges(n, kBlock, [&](int64_t begin, int64_t end, int) {
    squares[static_cast<size_t>(begin / kBlock)] = k_.squares(grad + begin, end - begin);
  });
  double norm = 0;
  for (double s : squares) norm += s;
  norm = std::sqrt(norm);
  const double clip = hyper.max_grad_norm > 0 ? std::min(1.0, hyper.max_grad_norm / (norm + 1e-6)) : 1.0;
  const double constants[9] = {clip, hyper.beta1, 1 - hyper.beta1, hyper.beta2, 1 - hyper.beta2, 1 - hyper.lr * hyper.weight_decay,
                               hyper.lr / (1 - std::pow(hyper.beta1, hyper.step)), std::sqrt(1 - std::pow(hyper.beta2, hyper.step)),
                               hyper.eps};
  float rounded_constants[9];
  for (int i = 0; i < 9; ++i) rounded_constants[i] = static_cast<float>(constants[i]);
  pool().run_ranges(n, kBlock, [&](int64_t begin, int64_t end, int) {
    k_.adamw(static_cast<float*>(p) + begin, static_cast<float*>(m) + begin, static_cast<float*>(v) + begin, grad + begin, end - begin,
             rounded_constants);
  });
  return norm;
}

template <class A>
void FastBackend<A>::score(const void* logits, int n, int V, const int32_t* host_ids, const int32_t* host_id_offsets, int top_k,
                           double* host_logsumexp, double* host_id_logprobs, int32_t* host_top_ids, double* host_top_logprobs) {
  ran("score");
  const int k = std::min(top_k, V);
  pool().run(n, [&](int64_t i, int) {
    const float* l = static_cast<const float*>(logits) + i * V;
    const double all = row_log_sum_exp(k_, l, V);
    host_logsumexp[i] = all;
    if (host_ids)
      for (int j = host_id_offsets[i]; j < host_id_offsets[i + 1]; ++j) host_id_logprobs[j] = l[host_ids[j]] - all;
    if (k <= 0) return;
    const FallingLogit<float> before{l};
    std::vector<int32_t> best;  // heap whose front is the worst token kept
    for (int32_t j = 0; j < V; ++j) {
      if (static_cast<int>(best.size()) == k) {
        if (!before(j, best.front())) continue;
        std::pop_heap(best.begin(), best.end(), before);
        best.pop_back();
      }
      best.push_back(j);
      std::push_heap(best.begin(), best.end(), before);
    }
    std::sort_heap(best.begin(), best.end(), before);
    for (int j = 0; j < k; ++j) {
      host_top_ids[i * top_k + j] = best[static_cast<size_t>(j)];
      host_top_logprobs[i * top_k + j] = l[best[static_cast<size_t>(j)]] - all;
    }
  });
}

}  // namespace steerlab
