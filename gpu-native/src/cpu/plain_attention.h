// Plain loops of causal grouped-query attention over segmented keys and values, and its backward.
//
// forward: s_j = q.k_j / sqrt(D), lse = log sum exp s, out = sum exp(s_j - lse) v_j.
// backward, with delta = dout.out: p_j = exp(s_j - lse); dv_j += p_j dout; ds_j = p_j (dout.v_j - delta) / sqrt(D);
// dq += ds_j k_j; dk_j += ds_j q. Only keys of the row's last segment collect dk and dv.
#pragma once
#include "plain.h"

namespace steerlab {

// Key and value rows (KVH * D elements each) of every position of one sequence, in order.
template <class Store>
struct KeyRows {
  std::vector<const Store*> k, v;
  KeyRows(const AttentionCall& call, const AttentionRow& row, int width) {
    for (int i = row.seg_begin; i < row.seg_begin + row.seg_count; ++i)
      for (int64_t j = 0; j < call.segments[i].len; ++j) {
        k.push_back(static_cast<const Store*>(call.segments[i].k) + j * width);
        v.push_back(static_cast<const Store*>(call.segments[i].v) + j * width);
      }
  }
};

template <class A>
void PlainBackend<A>::attention(const Attention& op) {
  const HeadShape s = op.heads;
  count("attention");
  const double scale = 1 / std::sqrt(static_cast<double>(s.D));
  std::vector<double> weight(static_cast<size_t>(op.call.max_kv_len)), sum(static_cast<size_t>(s.D));
  for (int r = 0; r < op.call.n_rows; ++r) {
    const AttentionRow& row = op.call.rows[r];
    const KeyRows<Store> keys(op.call, row, s.KVH * s.D);
    for (int i = 0; i < row.q_len; ++i)
      for (int h = 0; h < s.H; ++h) {
        const Store* q = acts(op.q_base) + static_cast<int64_t>(row.q_row + i) * op.ldq + h * s.D;
        const int seen = row.kv_len - row.q_len + i + 1, group = h / (s.H / s.KVH) * s.D;
        double top = -INFINITY, total = 0;
        for (int j = 0; j < seen; ++j) {
          double dot = 0;
          for (int d = 0; d < s.D; ++d) dot += static_cast<double>(A::load(q[d])) * A::load(keys.k[j][group + d]);
          weight[j] = dot * scale;
          top = std::max(top, weight[j]);
        }
        std::fill(sum.begin(), sum.end(), 0.0);
        for (int j = 0; j < seen; ++j) {
          const double w = std::exp(weight[j] - top);
          total += w;
          for (int d = 0; d < s.D; ++d) sum[d] += w * A::load(keys.v[j][group + d]);
        }
        const int64_t at = static_cast<int64_t>(row.out_row + i) * s.H + h;
        for (int d = 0; d < s.D; ++d) acts(op.out)[at * s.D + d] = A::store(static_cast<Calc>(sum[d] / total));
        if (op.lse) masters(op.lse)[at] = static_cast<Master>(top + std::log(total));
      }
  }
}

template <class A>
void PlainBackend<A>::attention_backward(const AttentionBackward& op) {
  const HeadShape s = op.heads;
  count("attention_backward");
  const double scale = 1 / std::sqrt(static_cast<double>(s.D));
  const int64_t q_width = s.H * s.D, kv_width = s.KVH * s.D, width = q_width + 2 * kv_width;
  std::vector<double> sums(static_cast<size_t>(op.n_tail * width));
  for (int r = 0; r < op.call.n_rows; ++r) {
    const AttentionRow& row = op.call.rows[r];
    if (!row.seg_count) continue;
    const KeyRows<Store> keys(op.call, row, s.KVH * s.D);
    const int own_len = op.call.segments[row.seg_begin + row.seg_count - 1].len, own_from = row.kv_len - own_len;
    for (int i = 0; i < row.q_len; ++i)
      for (int h = 0; h < s.H; ++h) {
        const int64_t at = static_cast<int64_t>(row.out_row + i) * s.H + h;
        const Store* q = acts(op.q_base) + static_cast<int64_t>(row.q_row + i) * op.ldq + h * s.D;
        const Store *g = acts(op.dout) + at * s.D, *o = acts(op.out) + at * s.D;
        const int position = row.kv_len - row.q_len + i, group = h / (s.H / s.KVH) * s.D;
        double* dq = &sums[static_cast<size_t>((op.own_begin[r] + position - own_from) * width + h * s.D)];
        double delta = 0;
        for (int d = 0; d < s.D; ++d) delta += static_cast<double>(A::load(g[d])) * A::load(o[d]);
        for (int j = 0; j <= position; ++j) {
          double dot = 0, dp = 0;
          for (int d = 0; d < s.D; ++d) {
            dot += static_cast<double>(A::load(q[d])) * A::load(keys.k[j][group + d]);
            dp += static_cast<double>(A::load(g[d])) * A::load(keys.v[j][group + d]);
          }
          const double p = std::exp(dot * scale - masters(op.lse)[at]), ds = p * (dp - delta) * scale;
          for (int d = 0; d < s.D; ++d) dq[d] += ds * A::load(keys.k[j][group + d]);
          if (j < own_from) continue;
          double* dk = &sums[static_cast<size_t>((op.own_begin[r] + j - own_from) * width + q_width + group)];
          for (int d = 0; d < s.D; ++d) {
            dk[d] += ds * A::load(q[d]);
            dk[kv_width + d] += p * A::load(g[d]);
          }
        }
      }
  }
  for (size_t i = 0; i < sums.size(); ++i) acts(op.dqkv)[i] = A::store(static_cast<Calc>(sums[i]));
}

}  // namespace steerlab
