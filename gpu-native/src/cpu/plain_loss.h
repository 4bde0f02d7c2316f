// Plain loops of the losses, AdamW, scoring and sampling.
#pragma once
#include <numeric>

#include "plain.h"

namespace steerlab {

template <class T>
double log_sum_exp(const T* values, int n) {
  double top = -INFINITY, total = 0;
  for (int i = 0; i < n; ++i) top = std::max(top, static_cast<double>(values[i]));
  if (!std::isfinite(top)) return top;
  for (int i = 0; i < n; ++i) total += std::exp(values[i] - top);
  return top + std::log(total);
}

// pair = logsumexp(l0, l1) - l_target; logmass = logsumexp(l0, l1) - logsumexp(l); loss = pair - mass_weight * logmass.
// With q = softmax over the two labels, P = softmax over V:  dl_j = mass_weight P_j + [label] ((1 - mass_weight) q_j - [target]).
template <class A>
void PlainBackend<A>::label_loss(const LabelLoss& op) {
  count("label_loss");
  pool().run(op.n, [&](int64_t i, int) {
    const Master* l = masters(op.logits) + i * op.V;
    const int32_t* pair = op.labels + 2 * i;
    const double a = l[pair[0]], b = l[pair[1]], top = std::max(a, b);
    const double both = top + std::log(std::exp(a - top) + std::exp(b - top)), all = log_sum_exp(l, op.V);
    const double wanted = op.targets[i] ? b : a;
    op.out[i] = {both - wanted - op.mass_weight * (both - all), {a - all, b - all}, both - all};
    if (!op.dlogits) return;
    Master* d = masters(op.dlogits) + i * op.V;
    if (op.mass_weight == 0) std::fill(d, d + op.V, Master(0));
    else
      for (int j = 0; j < op.V; ++j) d[j] = static_cast<Master>(op.scale[i] * op.mass_weight * std::exp(l[j] - all));
    const double label_logits[2] = {a, b};
    for (int j = 0; j < 2; ++j)
      d[pair[j]] = static_cast<Master>(op.scale[i] * (op.mass_weight * std::exp(label_logits[j] - all) +
                                                (1 - op.mass_weight) * std::exp(label_logits[j] - both) - (op.targets[i] == j)));
  });
}

template <class A>
void PlainBackend<A>::match_loss(const MatchLoss& op) {
  count("match_loss");
  pool().run(op.n, [&](int64_t i, int) {
    const Master *l = masters(op.logits) + i * op.V, *b = masters(op.base) + i * op.V;
    Master* d = op.dlogits ? masters(op.dlogits) + i * op.V : nullptr;
    const double all = log_sum_exp(l, op.V), base = log_sum_exp(b, op.V);
    double divergence = 0;
    for (int j = 0; j < op.V; ++j) {
      const double log_p = b[j] - base, log_q = l[j] - all, p = std::exp(log_p);
      divergence += p * (log_p - log_q);
      if (d) d[j] = static_cast<Master>(op.scale[i] * (std::exp(log_q) - p));
    }
    op.out[i] = divergence;
  });
}

// torch.nn.utils.clip_grad_norm_, then torch.optim.AdamW. The norm adds up blocks of 4096 in order: any thread count gives it.
template <class A>
void PlainBackend<A>::optimizer_step(const OptimizerStep& op) {
  count("optimizer_step");
  constexpr int64_t kBlock = 4096;
  const int64_t n = static_cast<int64_t>(op.count), blocks = (n + kBlock - 1) / kBlock;
  Master *p = masters(op.p), *m = masters(op.m), *v = masters(op.v);
  const Master* g = masters(op.g);
  std::vector<double> squares(static_cast<size_t>(blocks));
  pool().run_ranges(n, kBlock, [&](int64_t begin, int64_t end, int) {
    double sum = 0;
    for (int64_t i = begin; i < end; ++i) sum += static_cast<double>(g[i]) * g[i];
    squares[static_cast<size_t>(begin / kBlock)] = sum;
  });
  const double norm = std::sqrt(std::accumulate(squares.begin(), squares.end(), 0.0));
  const Master clip = static_cast<Master>(op.hyper.max_grad_norm > 0 ? std::min(1.0, op.hyper.max_grad_norm / (norm + 1e-6)) : 1.0);
  const double fix1 = 1 - std::pow(op.hyper.beta1, op.hyper.step), fix2 = std::sqrt(1 - std::pow(op.hyper.beta2, op.hyper.step));
  const Master decay = static_cast<Master>(1 - op.hyper.lr * op.hyper.weight_decay), step_size = static_cast<Master>(op.hyper.lr / fix1);
  const Master b1 = static_cast<Master>(op.hyper.beta1), b2 = static_cast<Master>(op.hyper.beta2);
  const Master rest1 = static_cast<Master>(1 - op.hyper.beta1), rest2 = static_cast<Master>(1 - op.hyper.beta2);
  const Master root_fix = static_cast<Master>(fix2), eps = static_cast<Master>(op.hyper.eps);
  pool().run_ranges(n, kBlock, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const Master grad = g[i] * clip;
      m[i] = m[i] * b1 + grad * rest1;
      v[i] = v[i] * b2 + grad * grad * rest2;
      p[i] = p[i] * decay - step_size * m[i] / (std::sqrt(v[i]) / root_fix + eps);
    }
  });
  op.norm = norm;
}

// Orders token ids by falling logit; equal logits by rising id.
template <class T>
struct FallingLogit {
  const T* logits;
  bool operator()(int32_t a, int32_t b) const { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; }
};

template <class A>
void PlainBackend<A>::score(const Score& op) {
  count("score");
  const int k = std::min(op.top_k, op.V);
  pool().run(op.n, [&](int64_t i, int) {
    const Master* l = masters(op.logits) + i * op.V;
    const double all = log_sum_exp(l, op.V);
    op.logsumexp[i] = all;
    if (op.ids.data)
      for (int j = op.id_offsets[i]; j < op.id_offsets[i + 1]; ++j) op.id_logprobs[j] = l[op.ids[j]] - all;
    if (k <= 0) return;
    std::vector<int32_t> order(static_cast<size_t>(op.V));
    std::iota(order.begin(), order.end(), 0);
    std::partial_sort(order.begin(), order.begin() + k, order.end(), FallingLogit<Master>{l});
    for (int j = 0; j < k; ++j) {
      op.top_ids[i * op.top_k + j] = order[static_cast<size_t>(j)];
      op.top_logprobs[i * op.top_k + j] = l[order[static_cast<size_t>(j)]] - all;
    }
  });
}

template <class A>
void PlainBackend<A>::sample(const Sample& op) {
  count("sample");
  pool().run(op.n, [&](int64_t i, int) {
    const Master* l = masters(op.logits) + i * op.V;
    const FallingLogit<Master> before{l};
    const auto nan = std::find_if(l, l + op.V, [](Master v) { return std::isnan(v); });  // would break the order that sorting needs
    if (nan != l + op.V || !std::isfinite(*std::max_element(l, l + op.V))) {
      op.tokens[i] = kNoToken;
      return;
    }
    if (op.temperature <= 0) {
      int best = 0;
      for (int j = 1; j < op.V; ++j)
        if (before(j, best)) best = j;
      op.tokens[i] = best;
      return;
    }
    std::vector<int32_t> order(static_cast<size_t>(op.V));
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), before);
    std::vector<double> mass(static_cast<size_t>(op.V));
    const double top = l[order[0]];
    double total = 0, kept = 0;
    for (int j = 0; j < op.V; ++j) total += mass[j] = std::exp((l[order[j]] - top) / op.temperature);
    int nucleus = 0;  // smallest head of the order whose mass reaches top_p
    do kept += mass[nucleus++];
    while (nucleus < op.V && kept < op.top_p * total);
    const Philox4 words = philox(op.rows[i].position, 0, 0, 0x53414d50u, op.rows[i].seed);
    const double u = uniform24(words.w[0]) * kept;
    double reached = 0;
    int pick = 0;
    for (; pick < nucleus - 1; ++pick)
      if ((reached += mass[pick]) > u) break;
    op.tokens[i] = order[pick];
  });
}

}  // namespace steerlab
