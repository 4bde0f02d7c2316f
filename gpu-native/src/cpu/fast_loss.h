// Losses, AdamW and scoring on the vector engine; formulas in plain_loss.h. Sampling is a sort: it stays with the plain loops.
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
void FastBackend<A>::label_loss(const LabelLoss& op) {
  ran("label_loss");
  pool().run(op.n, [&](int64_t i, int) {
    const float* l = static_cast<const float*>(op.logits) + i * op.V;
    const int32_t* pair = op.labels + 2 * i;
    const double a = l[pair[0]], b = l[pair[1]], top = std::max(a, b);
    const double both = top + std::log(std::exp(a - top) + std::exp(b - top)), all = row_log_sum_exp(k_, l, op.V);
    op.out[i] = {both - (op.targets[i] ? b : a) - op.mass_weight * (both - all), {a - all, b - all}, both - all};
    if (!op.dlogits) return;
    float* d = static_cast<float*>(op.dlogits) + i * op.V;
    if (op.mass_weight == 0) std::memset(d, 0, sizeof(float) * static_cast<size_t>(op.V));
    else k_.exps(d, l, static_cast<float>(all), static_cast<float>(op.scale[i] * op.mass_weight), op.V);
    const double label_logits[2] = {a, b};
    for (int j = 0; j < 2; ++j)
      d[pair[j]] = static_cast<float>(op.scale[i] * (op.mass_weight * std::exp(label_logits[j] - all) +
                                               (1 - op.mass_weight) * std::exp(label_logits[j] - both) - (op.targets[i] == j)));
  });
}

template <class A>
void FastBackend<A>::match_loss(const MatchLoss& op) {
  ran("match_loss");
  pool().run(op.n, [&](int64_t i, int) {
    const float *l = static_cast<const float*>(op.logits) + i * op.V, *b = static_cast<const float*>(op.base) + i * op.V;
    const double all = row_log_sum_exp(k_, l, op.V), base = row_log_sum_exp(k_, b, op.V);
    op.out[i] = k_.match(op.dlogits ? static_cast<float*>(op.dlogits) + i * op.V : nullptr, l, b, static_cast<float>(all),
                         static_cast<float>(base), static_cast<float>(all - base), static_cast<float>(op.scale[i]), op.V);
  });
}

template <class A>
void FastBackend<A>::optimizer_step(const OptimizerStep& op) {
  ran("optimizer_step");
  constexpr int64_t kBlock = 4096;
  const int64_t n = static_cast<int64_t>(op.count);
  std::vector<double> squares(static_cast<size_t>((n + kBlock - 1) / kBlock));
  const float* grad = static_cast<const float*>(op.g);
  pool().run_ranges(n, kBlock, [&](int64_t begin, int64_t end, int) {
    squares[static_cast<size_t>(begin / kBlock)] = k_.squares(grad + begin, end - begin);
  });
  double norm = 0;
  for (double s : squares) norm += s;
  norm = std::sqrt(norm);
  const double clip = op.hyper.max_grad_norm > 0 ? std::min(1.0, op.hyper.max_grad_norm / (norm + 1e-6)) : 1.0;
  const double constants[9] = {clip, op.hyper.beta1, 1 - op.hyper.beta1, op.hyper.beta2, 1 - op.hyper.beta2, 1 - op.hyper.lr * op.hyper.weight_decay,
                               op.hyper.lr / (1 - std::pow(op.hyper.beta1, op.hyper.step)), std::sqrt(1 - std::pow(op.hyper.beta2, op.hyper.step)),
                               op.hyper.eps};
  float rounded_constants[9];
  for (int i = 0; i < 9; ++i) rounded_constants[i] = static_cast<float>(constants[i]);
  pool().run_ranges(n, kBlock, [&](int64_t begin, int64_t end, int) {
    k_.adamw(static_cast<float*>(op.p) + begin, static_cast<float*>(op.m) + begin, static_cast<float*>(op.v) + begin, grad + begin, end - begin,
             rounded_constants);
  });
  op.norm = norm;
}

template <class A>
void FastBackend<A>::score(const Score& op) {
  ran("score");
  const int k = std::min(op.top_k, op.V);
  pool().run(op.n, [&](int64_t i, int) {
    const float* l = static_cast<const float*>(op.logits) + i * op.V;
    const double all = row_log_sum_exp(k_, l, op.V);
    op.logsumexp[i] = all;
    if (op.ids.data)
      for (int j = op.id_offsets[i]; j < op.id_offsets[i + 1]; ++j) op.id_logprobs[j] = l[op.ids[j]] - all;
    if (k <= 0) return;
    const FallingLogit<float> before{l};
    std::vector<int32_t> best;  // heap whose front is the worst token kept
    for (int32_t j = 0; j < op.V; ++j) {
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
      op.top_ids[i * op.top_k + j] = best[static_cast<size_t>(j)];
      op.top_logprobs[i * op.top_k + j] = l[best[static_cast<size_t>(j)]] - all;
    }
  });
}

template <class A>
void FastBackend<A>::sample(const Sample& op) {
  PlainBackend<A>::sample(op);
}

}  // namespace steerlab
