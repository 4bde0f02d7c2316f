// Attention and its gradient against their twin: shared prefixes, several segments, tails shorter than their keys, odd heads.
#include "twin.h"

namespace twin {
namespace {

struct RowShape {
  std::vector<int> segments;  // lengths; the last is the row's own
  int q_len;
};

struct Setup {
  AttentionCall cpu, gpu;
  std::vector<int32_t> own_begin;
  int n_tail = 0;
};

// Every distinct segment is its own block of random keys and values; rows with shared = true use row 0's first segment.
Setup make(Twin& t, const std::vector<RowShape>& shapes, HeadShape s, bool shared) {
  Setup out;
  std::vector<AttentionRow> rows;
  std::vector<KvSegment> cpu_segments, gpu_segments;
  int q = 0, max_q = 0, max_kv = 0;
  for (size_t i = 0; i < shapes.size(); ++i) {
    AttentionRow row{q, shapes[i].q_len, q, static_cast<int32_t>(cpu_segments.size()), static_cast<int32_t>(shapes[i].segments.size()), 0};
    for (size_t j = 0; j < shapes[i].segments.size(); ++j) {
      const int len = shapes[i].segments[j];
      row.kv_len += len;
      if (shared && i > 0 && j == 0) {
        cpu_segments.push_back(cpu_segments[0]);
        gpu_segments.push_back(gpu_segments[0]);
        continue;
      }
      const Buffer k = t.acts(static_cast<size_t>(len * s.KVH * s.D)), v = t.acts(static_cast<size_t>(len * s.KVH * s.D));
      cpu_segments.push_back({k.cpu, v.cpu, len, 0});
      gpu_segments.push_back({k.gpu, v.gpu, len, 0});
    }
    out.own_begin.push_back(out.n_tail);
    out.n_tail += shapes[i].segments.back() + 1;  // a tail row that belongs to nobody follows
    q += shapes[i].q_len;
    max_q = std::max(max_q, shapes[i].q_len);
    max_kv = std::max(max_kv, row.kv_len);
    rows.push_back(row);
  }
  const auto r = t.table(rows);
  const auto cs = t.table(cpu_segments), gs = t.table(gpu_segments);
  out.cpu = {static_cast<int>(rows.size()), r.first, cs.first, max_q, max_kv, q};
  out.gpu = {static_cast<int>(rows.size()), r.second, gs.second, max_q, max_kv, q};
  return out;
}

void check(Twin& t, const std::string& at, const std::vector<RowShape>& shapes, HeadShape s, bool shared) {
  const Setup setup = make(t, shapes, s, shared);
  // Weights rounded to one bf16 number instead of two leave 1.5e-3 to 3e-3; of few numbers one that rounds the other way is more.
  const double tolerance = t.half() && setup.cpu.total_q > 1 ? 1e-3 : t.tolerance();
  const int n = setup.cpu.total_q, ldq = (s.H + 2 * s.KVH) * s.D, width = s.H * s.D;
  const Buffer q = t.acts(static_cast<size_t>(n * ldq));
  Buffer out = t.poisoned_acts(static_cast<size_t>(n * width)), lse = t.poisoned(static_cast<size_t>(n * s.H), DType::F32);
  t.cpu.attention({.out = out.cpu, .lse = lse.cpu, .q_base = q.cpu, .ldq = ldq, .call = setup.cpu, .heads = s});
  t.gpu.attention({.out = out.gpu, .lse = lse.gpu, .q_base = q.gpu, .ldq = ldq, .call = setup.gpu, .heads = s});
  t.compare(at, out, tolerance);
  t.compare(at + "_lse", lse, t.half() ? 1e-3 : 1e-5);
  Buffer no_lse = t.poisoned_acts(static_cast<size_t>(n * width));
  t.cpu.attention({.out = no_lse.cpu, .q_base = q.cpu, .ldq = ldq, .call = setup.cpu, .heads = s});
  t.gpu.attention({.out = no_lse.gpu, .q_base = q.gpu, .ldq = ldq, .call = setup.gpu, .heads = s});
  t.compare(at + "_no_lse", no_lse, tolerance);

  const Buffer dout = t.acts(static_cast<size_t>(n * width));
  // both sides differentiate the CPU's output and lse, so that only the gradient itself is compared
  const Buffer same_out = t.from(t.read(t.cpu, out.cpu, out.count, out.type), t.act()), same_lse = t.from(t.read(t.cpu, lse.cpu, lse.count, DType::F32), DType::F32);
  Buffer d = t.poisoned_acts(static_cast<size_t>(setup.n_tail * ldq));
  const auto own_begin = t.table(setup.own_begin);
  t.cpu.attention_backward({.dqkv = d.cpu, .n_tail = setup.n_tail, .own_begin = own_begin.first, .dout = dout.cpu,
                            .out = same_out.cpu, .lse = same_lse.cpu, .q_base = q.cpu, .ldq = ldq, .call = setup.cpu, .heads = s});
  t.gpu.attention_backward({.dqkv = d.gpu, .n_tail = setup.n_tail, .own_begin = own_begin.second, .dout = dout.gpu,
                            .out = same_out.gpu, .lse = same_lse.gpu, .q_base = q.gpu, .ldq = ldq, .call = setup.gpu, .heads = s});
  t.compare(at + "_backward", d, tolerance);
}

void attention(Twin& t) {
  check(t, "single", {{{1}, 1}}, {2, 1, 8}, false);
  check(t, "plain", {{{37}, 37}, {{5}, 5}}, {4, 2, 16}, false);
  check(t, "prefix", {{{40, 25}, 25}, {{40, 11}, 11}, {{40, 33}, 33}}, {4, 2, 32}, true);
  check(t, "many_segments", {{{3, 1, 50, 7}, 7}, {{64, 2}, 2}}, {5, 1, 64}, false);
  check(t, "tail_only", {{{30, 20}, 1}, {{17, 12}, 3}}, {6, 2, 64}, false);
  check(t, "decode", {{{100, 9, 1}, 1}, {{2, 1}, 1}, {{64, 1}, 1}}, {8, 2, 128}, false);
  check(t, "odd_width", {{{20, 9}, 9}}, {3, 1, 20}, false);
  check(t, "wide_head", {{{18, 7}, 7}}, {2, 1, 144}, false);
}

// The same keys cut into other segments must give the same bits.
void segmentation(Twin& t) {
  const HeadShape s{4, 2, 32};
  const int len = 75, kv = s.KVH * s.D, q_len = 9, ldq = s.H * s.D;
  const Buffer k = t.acts(static_cast<size_t>(len * kv)), v = t.acts(static_cast<size_t>(len * kv)), q = t.acts(static_cast<size_t>(q_len * ldq));
  std::vector<std::vector<float>> results;
  for (const std::vector<int>& cut : std::vector<std::vector<int>>{{75}, {40, 35}, {1, 31, 33, 10}}) {
    std::vector<KvSegment> segments;
    size_t at = 0;
    for (const int part : cut) {
      const size_t offset = at * static_cast<size_t>(kv) * bytes_of(t.act());
      segments.push_back({static_cast<char*>(k.gpu) + offset, static_cast<char*>(v.gpu) + offset, part, 0});
      at += static_cast<size_t>(part);
    }
    const auto table = t.table(segments);
    const auto rows = t.table(std::vector<AttentionRow>{{0, q_len, 0, 0, static_cast<int32_t>(cut.size()), len}});
    Buffer out = t.poisoned_acts(static_cast<size_t>(q_len * ldq));
    t.gpu.attention({.out = out.gpu, .q_base = q.gpu, .ldq = ldq, .call = {1, rows.second, table.second, q_len, len, q_len},
                     .heads = s});
    results.push_back(t.read(t.gpu, out.gpu, out.count, out.type));
  }
  t.expect("same_bits", results[0] == results[1] && results[0] == results[2] && results[0][0] == results[0][0]);
}

}  // namespace

std::vector<Case> attention_cases() { return {{"attention", attention}, {"segmentation", segmentation}}; }

}  // namespace twin
