// A batch of sequences with segmented keys: shared prefixes, own tails, queries only at the end of some tails.
#pragma once
#include "lab.h"

namespace ops_test {

struct Sequence {
  std::vector<int> segments;  // lengths; the last is the row's own tail
  int q_len;
};

struct AttentionBatch {
  AttentionCall call;
  int total_q = 0, n_tail = 0;
  std::vector<int32_t> own_begin;
  std::vector<AttentionRow> rows;
  std::vector<KvSegment> segments;

  AttentionBatch(Lab& lab, const std::vector<Sequence>& sequences, HeadShape s, uint64_t seed = 50) {
    for (size_t i = 0; i < sequences.size(); ++i) {
      AttentionRow row{total_q, sequences[i].q_len, total_q, static_cast<int32_t>(segments.size()),
                       static_cast<int32_t>(sequences[i].segments.size()), 0};
      for (int len : sequences[i].segments) {
        const size_t count = static_cast<size_t>(len) * s.KVH * s.D;
        segments.push_back({lab.act(noise(count, seed + 7 * segments.size())), lab.act(noise(count, seed + 3 + 7 * segments.size())), len, 0});
        row.kv_len += len;
      }
      own_begin.push_back(n_tail);
      n_tail += sequences[i].segments.back();
      total_q += row.q_len;
      rows.push_back(row);
      call.max_q_len = std::max(call.max_q_len, row.q_len);
      call.max_kv_len = std::max(call.max_kv_len, row.kv_len);
    }
    call.n_rows = static_cast<int>(rows.size());
    call.rows = static_cast<const AttentionRow*>(lab.raw(rows.data(), rows.size() * sizeof(AttentionRow)));
    call.segments = static_cast<const KvSegment*>(lab.raw(segments.data(), segments.size() * sizeof(KvSegment)));
    call.total_q = total_q;
  }
};

// out, then lse
inline Values run_attention(Lab& lab, const std::vector<Sequence>& sequences, HeadShape s) {
  AttentionBatch batch(lab, sequences, s);
  const int ldq = (s.H + 2 * s.KVH) * s.D;
  const size_t heads = static_cast<size_t>(batch.total_q) * s.H;
  void *out = lab.poison_act(heads * s.D), *lse = lab.poison_master(heads);
  lab.b.attention({.out = out, .lse = lse, .q_base = lab.act(noise(static_cast<size_t>(batch.total_q) * ldq, 49, 1.5)), .ldq = ldq,
                   .call = batch.call, .heads = s});
  Values v = lab.read_act(out, heads * s.D);
  for (double x : lab.read_master(lse, heads)) v.push_back(x);
  return v;
}

inline Values run_attention_backward(Lab& lab, const std::vector<Sequence>& sequences, HeadShape s) {
  AttentionBatch batch(lab, sequences, s);
  const int ldq = (s.H + 2 * s.KVH) * s.D;
  const size_t heads = static_cast<size_t>(batch.total_q) * s.H, grads = static_cast<size_t>(batch.n_tail) * ldq;
  void *out = lab.poison_act(heads * s.D), *lse = lab.poison_master(heads), *d = lab.poison_act(grads);
  void* q = lab.act(noise(static_cast<size_t>(batch.total_q) * ldq, 49, 1.5));
  lab.b.attention({.out = out, .lse = lse, .q_base = q, .ldq = ldq, .call = batch.call, .heads = s});
  lab.b.attention_backward({.dqkv = d, .n_tail = batch.n_tail, .own_begin = lab.i32(batch.own_begin),
                            .dout = lab.act(noise(heads * s.D, 48)), .out = out, .lse = lse, .q_base = q, .ldq = ldq,
                            .call = batch.call, .heads = s});
  return lab.read_act(d, grads);
}

}  // namespace ops_test
