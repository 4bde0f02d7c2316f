// Attention on the vector engine: small matrix products per (sequence, key/value head), all in f32.
//
// The G = H / KVH query heads of a group share their keys, so queries stack to M = queries * G rows (row = query * G + head).
// S = Q K^T, softmax with the causal bound of each row, out = P V. Backward mirrors it: S again, dP = dO V^T,
// dS = P (dP - delta) / sqrt(D), dQ = dS K, and for the row's own keys dK = dS^T Q, dV = P^T dO.
// "Blocks" are row-major copies cut into columns of `width`: block[column / width][row][width], zero-filled: as they stand they
// are the right operand of a product that sums over rows, and the left one of a product that sums over columns.
#pragma once
#include "fast.h"

namespace steerlab {

// The matrices of one (sequence, key/value head) task, carved from one scratch buffer.
template <class E>
struct HeadMatrices {
  const Kernels& k;
  const RowKernels<E>& e;
  int D, blocks;  // columns; blocks of `width` columns

  HeadMatrices(const Kernels& kernels, const RowKernels<E>& rows, int head_dim)
      : k(kernels), e(rows), D(head_dim), blocks((head_dim + kernels.width - 1) / kernels.width) {}

  int columns(int block) const { return std::min(k.width, D - block * k.width); }
  int panels(int rows) const { return (rows + k.width - 1) / k.width; }
  int64_t turned_row(int rows) const { return (rows + k.lanes - 1) / k.lanes * k.lanes; }
  int64_t block_words(int rows) const { return static_cast<int64_t>(blocks) * rows * k.width; }
  int64_t turned_words(int rows) const { return static_cast<int64_t>(panels(rows)) * D * k.width; }

  // `row` of `rows` rows, from src.
  void put_row(float* dst, int rows, int row, const E* src) const {
    for (int b = 0; b < blocks; ++b) {
      float* to = dst + (static_cast<int64_t>(b) * rows + row) * k.width;
      if (columns(b) < k.width) std::memset(to, 0, sizeof(float) * static_cast<size_t>(k.width));
      e.widen(to, src + b * k.width, columns(b));
    }
  }

  // blocks of `rows` rows -> panels of their transpose: panel[row / width][D][width]
  void turn(float* dst, const float* src, int rows) const {
    for (int p = 0; p < panels(rows); ++p)
      for (int b = 0; b < blocks; ++b)
        for (int v = 0; v < 2; ++v) {
          const int first = p * k.width + v * k.lanes, count = std::clamp(rows - first, 0, k.lanes);
          k.pack_f32(dst + (static_cast<int64_t>(p) * D + b * k.width) * k.width + v * k.lanes, k.width,
                     src + (static_cast<int64_t>(b) * rows + first) * k.width, k.width, count, columns(b));
        }
  }

  // Columns [from, from + count) of `rows` rows (ld), transposed: dst (count, turned_row(rows)).
  void turn_columns(float* dst, const float* s, int64_t ld, int rows, int from, int count) const {
    for (int g = 0; g < rows; g += k.lanes)
      k.pack_f32(dst + g, static_cast<int>(turned_row(rows)), s + g * ld + from, ld, std::min(k.lanes, rows - g), count);
  }

  // s (rows, ld = panels * width) = blocks of `rows` rows times the transposed panels of `keys` rows.
  void scores(float* s, int64_t ld, const float* left, const float* right, int rows, int keys) const {
    for (int p = 0; p < panels(keys); ++p)
      for (int64_t b = 0; b < blocks; ++b)
        k.gemm_f32(s + p * k.width, ld, left + b * rows * k.width, k.width, right + (static_cast<int64_t>(p) * D + b * k.width) * k.width, rows,
                   columns(static_cast<int>(b)), keys - p * k.width > k.lanes ? 2 : 1, b > 0);
  }

  // out (rows, blocks * width) (+)= rows of `left` (ld) over `steps` columns times blocks that hold `stored` rows.
  void combine(float* out, const float* left, int64_t ld, const float* right, int rows, int steps, int stored, bool accumulate) const {
    for (int b = 0; b < blocks; ++b)
      k.gemm_f32(out + b * k.width, static_cast<int64_t>(blocks) * k.width, left, ld, right + static_cast<int64_t>(b) * stored * k.width, rows,
                 steps, columns(b) > k.lanes ? 2 : 1, accumulate);
  }

  // Keys or values of the first `keys` positions of a sequence, one head.
  template <bool Values>
  void gather(float* dst, int keys, const AttentionCall& call, const AttentionRow& row, int kv_width, int column) const {
    int at = 0;
    for (int i = row.seg_begin; i < row.seg_begin + row.seg_count && at < keys; ++i) {
      const E* base = static_cast<const E*>(Values ? call.segments[i].v : call.segments[i].k) + column;
      for (int64_t j = 0; j < call.segments[i].len && at < keys; ++j) put_row(dst, keys, at++, base + j * kv_width);
    }
  }
};

// Carves consecutive 64-byte aligned pieces; with a null base it only measures.
struct Carver {
  float* base;
  int64_t used = 0;
  float* take(int64_t count) {
    float* p = base ? base + used : nullptr;
    used += (count + 15) / 16 * 16;
    return p;
  }
};

// Queries per chunk: about 128 stacked rows.
inline int query_chunk(int group) { return std::max(1, 128 / group); }

template <class A>
void FastBackend<A>::attend(Worker& w, const Attention& op, int row_index, int kv_head, int q_from, int q_to) {
  const AttentionCall& call = op.call;
  const HeadShape s = op.heads;
  const AttentionRow& row = call.rows[row_index];
  const HeadMatrices<E> m(k_, e_, s.D);
  const int group = s.H / s.KVH, M = (q_to - q_from) * group, before = row.kv_len - row.q_len, keys = before + q_to;
  const int64_t ld = static_cast<int64_t>(m.panels(keys)) * k_.width;
  const int wide = m.blocks * k_.width;
  float *q, *key, *key_panels, *value, *scores, *sums;
  for (Carver c{nullptr};; c = {w.scores.template get<float>(static_cast<size_t>(c.used))}) {
    q = c.take(m.block_words(M));
    key = c.take(m.block_words(keys));
    key_panels = c.take(m.turned_words(keys));
    value = c.take(m.block_words(keys));
    scores = c.take(M * ld);
    sums = c.take(static_cast<int64_t>(M) * wide);
    if (c.base) break;
  }
  for (int i = 0; i < M; ++i)
    m.put_row(q, M, i, acts(op.q_base) + static_cast<int64_t>(row.q_row + q_from + i / group) * op.ldq + (kv_head * group + i % group) * s.D);
  m.template gather<false>(key, keys, call, row, s.KVH * s.D, kv_head * s.D);
  m.template gather<true>(value, keys, call, row, s.KVH * s.D, kv_head * s.D);
  m.turn(key_panels, key, keys);
  m.scores(scores, ld, q, key_panels, M, keys);

  const float scale = static_cast<float>(1 / std::sqrt(static_cast<double>(s.D)));
  float* total = w.rows.template get<float>(static_cast<size_t>(M));
  for (int i = 0; i < M; ++i) {
    float top;
    total[i] = k_.softmax(scores + i * ld, before + q_from + i / group + 1, keys, scale, &top);
    if (op.lse)
      static_cast<float*>(op.lse)[static_cast<int64_t>(row.out_row + q_from + i / group) * s.H + kv_head * group + i % group] =
          top + std::log(total[i]);
  }
  m.combine(sums, scores, ld, value, M, keys, keys, false);
  for (int i = 0; i < M; ++i) {
    k_.scale(sums + static_cast<int64_t>(i) * wide, 1 / total[i], s.D);
    e_.narrow(acts(op.out) + (static_cast<int64_t>(row.out_row + q_from + i / group) * s.H + kv_head * group + i % group) * s.D,
              sums + static_cast<int64_t>(i) * wide, s.D);
  }
}

template <class A>
void FastBackend<A>::attention(const Attention& op) {
  const HeadShape s = op.heads;
  ran("attention");
  struct Task {
    int row, kv_head, q_from, q_to;
  };
  std::vector<Task> tasks;
  const int chunk = query_chunk(s.H / s.KVH);
  for (int r = 0; r < op.call.n_rows; ++r)
    for (int h = 0; h < s.KVH; ++h)
      for (int q = 0; q < op.call.rows[r].q_len; q += chunk) tasks.push_back({r, h, q, std::min(q + chunk, op.call.rows[r].q_len)});
  pool().run(static_cast<int64_t>(tasks.size()), [&](int64_t i, int worker) {
    const Task& t = tasks[static_cast<size_t>(i)];
    attend(workers_[static_cast<size_t>(worker)], op, t.row, t.kv_head, t.q_from, t.q_to);
  });
}

template <class A>
void FastBackend<A>::attend_backward(Worker& w, const AttentionBackward& op, int row_index, int kv_head) {
  const AttentionCall& call = op.call;
  const HeadShape s = op.heads;
  const int own_begin = op.own_begin[row_index];
  const AttentionRow& row = call.rows[row_index];
  const HeadMatrices<E> m(k_, e_, s.D);
  const int group = s.H / s.KVH, chunk = query_chunk(group), most = std::min(chunk, row.q_len) * group, keys = row.kv_len;
  const int own = call.segments[row.seg_begin + row.seg_count - 1].len, own_from = keys - own, before = keys - row.q_len;
  const int64_t ld = static_cast<int64_t>(m.panels(keys)) * k_.width, width = static_cast<int64_t>(s.H + 2 * s.KVH) * s.D;
  const int wide = m.blocks * k_.width;
  float *q, *g, *key, *key_panels, *value, *value_panels, *p, *ds, *turned, *dq, *dk, *dv;
  for (Carver c{nullptr};; c = {w.scores.template get<float>(static_cast<size_t>(c.used))}) {
    q = c.take(m.block_words(most));
    g = c.take(m.block_words(most));
    key = c.take(m.block_words(keys));
    value = c.take(m.block_words(keys));
    key_panels = c.take(m.turned_words(keys));
    value_panels = c.take(m.turned_words(keys));
    p = c.take(most * ld);
    ds = c.take(most * ld);
    turned = c.take(own * m.turned_row(most));
    dq = c.take(static_cast<int64_t>(most) * wide);
    dk = c.take(static_cast<int64_t>(own) * wide);
    dv = c.take(static_cast<int64_t>(own) * wide);
    if (c.base) break;
  }
  m.template gather<false>(key, keys, call, row, s.KVH * s.D, kv_head * s.D);
  m.template gather<true>(value, keys, call, row, s.KVH * s.D, kv_head * s.D);
  m.turn(key_panels, key, keys);
  m.turn(value_panels, value, keys);
  const float scale = static_cast<float>(1 / std::sqrt(static_cast<double>(s.D)));

  for (int q0 = 0; q0 < row.q_len; q0 += chunk) {
    const int M = std::min(chunk, row.q_len - q0) * group;
    auto head = [&](int i) { return static_cast<int64_t>(row.out_row + q0 + i / group) * s.H + kv_head * group + i % group; };
    for (int i = 0; i < M; ++i) {
      m.put_row(q, M, i, acts(op.q_base) + static_cast<int64_t>(row.q_row + q0 + i / group) * op.ldq + (kv_head * group + i % group) * s.D);
      m.put_row(g, M, i, acts(op.dout) + head(i) * s.D);
    }
    m.scores(p, ld, q, key_panels, M, keys);
    m.scores(ds, ld, g, value_panels, M, keys);
    for (int i = 0; i < M; ++i)
      k_.softmax_backward(p + i * ld, ds + i * ld, before + q0 + i / group + 1, keys, scale, static_cast<const float*>(op.lse)[head(i)],
                          e_.dot(acts(op.dout) + head(i) * s.D, acts(op.out) + head(i) * s.D, s.D));
    m.combine(dq, ds, ld, key, M, keys, keys, false);
    for (int i = 0; i < M; ++i)
      e_.narrow(acts(op.dqkv) + (own_begin + before + q0 + i / group - own_from) * width + (kv_head * group + i % group) * s.D,
                dq + static_cast<int64_t>(i) * wide, s.D);
    m.turn_columns(turned, ds, ld, M, own_from, own);
    m.combine(dk, turned, m.turned_row(M), q, own, M, M, q0 > 0);
    m.turn_columns(turned, p, ld, M, own_from, own);
    m.combine(dv, turned, m.turned_row(M), g, own, M, M, q0 > 0);
  }
  for (int j = 0; j < own; ++j) {
    E* to = acts(op.dqkv) + (own_begin + j) * width + static_cast<int64_t>(s.H + kv_head) * s.D;
    e_.narrow(to, dk + static_cast<int64_t>(j) * wide, s.D);
    e_.narrow(to + static_cast<int64_t>(s.KVH) * s.D, dv + static_cast<int64_t>(j) * wide, s.D);
  }
}

template <class A>
void FastBackend<A>::attention_backward(const AttentionBackward& op) {
  const HeadShape s = op.heads;
  ran("attention_backward");
  const int64_t width = static_cast<int64_t>(s.H + 2 * s.KVH) * s.D;
  pool().run_ranges(op.n_tail, 16, [&](int64_t begin, int64_t end, int) {
    std::memset(static_cast<void*>(acts(op.dqkv) + begin * width), 0, sizeof(E) * static_cast<size_t>((end - begin) * width));
  });
  pool().run(static_cast<int64_t>(op.call.n_rows) * s.KVH, [&](int64_t i, int worker) {
    const int r = static_cast<int>(i / s.KVH);
    if (op.call.rows[r].q_len == 0 || op.call.rows[r].seg_count == 0) return;
    attend_backward(workers_[static_cast<size_t>(worker)], op, r, static_cast<int>(i % s.KVH));
  });
}

}  // namespace steerlab
