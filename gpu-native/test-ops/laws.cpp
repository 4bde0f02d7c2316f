// See laws.h. Invariances are bitwise: the measured figure is the number of differing elements, the limit 0.
#include "laws.h"

#include "attention_lab.h"
#include "linear_lab.h"

namespace ops_test {
namespace {

double differing(const Values& a, const Values& b) {
  if (a.size() != b.size()) return INFINITY;
  double count = 0;
  for (size_t i = 0; i < a.size(); ++i) count += std::memcmp(&a[i], &b[i], 8) != 0;
  return count;
}

const LinearShape kWide{131, {70, 33}, 16, 1, 0.25f, true, DType::BF16};

// Token t of a call with 67 tokens equals token t alone, and in a call of 29 others.
void batch_invariance(Report& report, Backend& b) {
  const int width = 103;
  Lab lab(b);
  const Values all = run_linear(lab, kWide, 67);
  for (int first : {0, 13, 66})
    for (int n : {1, 29}) {
      if (first + n > 67) continue;
      const Values some = run_linear(lab, kWide, n, first);
      report.check("linear: tokens " + std::to_string(first) + "+" + std::to_string(n) + " bitwise as in a batch of 67",
                   differing({some.begin(), some.begin() + n * width}, {all.begin() + first * width, all.begin() + (first + n) * width}), 0);
    }
  const std::vector<Sequence> rows = {{{42, 25}, 25}, {{9, 30}, 30}};
  const HeadShape s{6, 2, 40};
  const Values both = run_attention(lab, rows, s), one = run_attention(lab, {rows[0]}, s);
  const int size = 25 * s.H * s.D;
  report.check("attention: a sequence bitwise as alone", differing({one.begin(), one.begin() + size}, {both.begin(), both.begin() + size}), 0);
}

// The last token of a sequence gives the same bits whether its keys lie in one segment or three, and alone or with earlier queries.
void split_invariance(Report& report, Backend& b) {
  Lab lab(b);
  const HeadShape s{4, 2, 24};
  const size_t kv = static_cast<size_t>(s.KVH) * s.D;
  const int len = 37, ldq = s.H * s.D;
  const Values k = noise(len * kv, 80), v = noise(len * kv, 81), q = noise(static_cast<size_t>(len) * ldq, 82);
  auto run = [&](const std::vector<int>& cuts, int q_len) {
    std::vector<KvSegment> segments;
    int from = 0;
    for (int cut : cuts) {
      auto piece = [&](const Values& all) { return lab.act({all.begin() + static_cast<int64_t>(from * kv), all.begin() + static_cast<int64_t>(cut * kv)}); };
      segments.push_back({piece(k), piece(v), cut - from, 0});
      from = cut;
    }
    const AttentionRow row{0, q_len, 0, 0, static_cast<int32_t>(segments.size()), len};
    AttentionCall call{1, static_cast<const AttentionRow*>(lab.raw(&row, sizeof row)),
                       static_cast<const KvSegment*>(lab.raw(segments.data(), segments.size() * sizeof(KvSegment))), q_len, len, q_len};
    void* out = lab.poison_act(static_cast<size_t>(q_len) * ldq);
    lab.b.attention({.out = out, .q_base = lab.act({q.end() - q_len * ldq, q.end()}), .ldq = ldq, .call = call, .heads = s});
    const Values all = lab.read_act(out, static_cast<size_t>(q_len) * ldq);
    return Values(all.end() - ldq, all.end());
  };
  const Values whole = run({len}, len);
  report.check("attention: segmented keys, bitwise", differing(run({5, 6, len}, len), whole), 0);
  report.check("attention: last query alone, bitwise", differing(run({20, len}, 1), whole), 0);
}

void thread_invariance(Report& report, DType type, const std::string& isa) {
  auto one = make_cpu_backend(type, 1, isa), three = make_cpu_backend(type, 3, isa);
  std::vector<Case> cases;
  for (auto family : {row_cases, linear_cases, attention_cases, loss_cases})
    for (Case& c : family())
      if (c.name.find("n=67") != std::string::npos || c.name.find("n=") == std::string::npos) cases.push_back(std::move(c));
  for (const Case& c : cases) {
    Lab a(*one), b(*three);
    report.check(c.name + ": 1 thread bitwise as 3", differing(c.run(a), c.run(b)), 0);
  }
}

// Gradients of examples in one call equal those of two calls, one after the other.
void gradient_split(Report& report, Backend& b) {
  Lab lab(b);
  const int n = 36, cut = 18;
  LinearGroup whole(lab, kWide, n), first(lab, kWide, cut), second(lab, kWide, n - cut, cut);
  const Values x = linear_input(kWide, n), dy = noise(static_cast<size_t>(n) * whole.width, 90);
  auto rows = [](const Values& v, int from, int to, int width) { return Values(v.begin() + from * width, v.begin() + to * width); };
  auto pass = [&](LinearGroup& g, std::vector<LoraGrad>& grads, int from, int to) {
    void *xs = lab.act(rows(x, from, to, kWide.in)), *y = lab.poison_act(static_cast<size_t>(to - from) * g.width);
    lab.b.linear({.y = y, .ldy = g.width, .x = xs, .n = to - from, .parts = g.parts, .dropout = &g.key});
    std::vector<int32_t> offsets;
    for (int t = 0; t <= to - from; t += 9) offsets.push_back(t);
    lab.b.linear_backward({.dx = lab.poison_act(static_cast<size_t>(to - from) * kWide.in), .dy = lab.act(rows(dy, from, to, g.width)),
                           .ldy = g.width, .x = xs, .n = to - from, .parts = g.parts, .grads = grads,
                           .dropout = &g.key, .example_offsets = lab.i32(offsets), .examples = static_cast<int>(offsets.size()) - 1});
  };
  std::vector<LoraGrad> a(2), c(2);
  for (auto* grads : {&a, &c})
    for (size_t p = 0; p < 2; ++p)
      (*grads)[p] = {lab.master(Values(static_cast<size_t>(kWide.r) * kWide.in)), lab.master(Values(static_cast<size_t>(kWide.outs[p]) * kWide.r))};
  pass(whole, a, 0, n);
  pass(first, c, 0, cut);
  pass(second, c, cut, n);
  for (size_t p = 0; p < 2; ++p) {
    const size_t na = static_cast<size_t>(kWide.r) * kWide.in, nb = static_cast<size_t>(kWide.outs[p]) * kWide.r;
    report.check("linear_backward: dA of a split batch, bitwise", differing(lab.read_master(a[p].a, na), lab.read_master(c[p].a, na)), 0);
    report.check("linear_backward: dB of a split batch, bitwise", differing(lab.read_master(a[p].b, nb), lab.read_master(c[p].b, nb)), 0);
  }
}

// Kept elements of x = 1 through A = identity: the share of zeros of u against its expectation, |z| <= 5 (odds 6e-7), and
// kept ones equal 1 / (1 - p).
void dropout_rate(Report& report, Backend& b) {
  Lab lab(b);
  const int n = 64, in = 64;
  const float p = 0.25f;
  Values eye(static_cast<size_t>(in) * in);
  for (int i = 0; i < in; ++i) eye[static_cast<size_t>(i) * in + i] = 1;
  const Weight w = lab.weight(Values(static_cast<size_t>(in)), 1, in, DType::BF16);
  std::vector<int32_t> zeros(n), positions(n);
  for (int t = 0; t < n; ++t) positions[static_cast<size_t>(t)] = t;
  LoraUse use{0, n, in, 1, p, lab.master(eye), lab.master(Values(in)), lab.poison_master(static_cast<size_t>(n) * in)};
  const LinearPart part{&w, 0, {&use, 1}, 3};
  const DropoutKey key{1, 1, lab.i32(zeros), lab.i32(positions)};
  lab.b.linear({.y = lab.poison_act(n), .ldy = 1, .x = lab.act(Values(static_cast<size_t>(n) * in, 1.0)), .n = n, .parts = {&part, 1},
                .dropout = &key});
  double dropped = 0, wrong = 0;
  for (double u : lab.read_master(use.u, static_cast<size_t>(n) * in)) {
    dropped += u == 0;
    wrong += u != 0 && std::abs(u - 4.0 / 3) > 1e-6;
  }
  report.check("dropout: |z| of the dropped share", std::abs(dropped - n * in * p) / std::sqrt(n * in * p * (1 - p)), 5);
  report.check("dropout: kept elements are 1 / (1 - p)", wrong, 0);
}

// Each output is one element of x times one bf16 weight, a power of two: nothing may be lost. The inputs of other checks lie on the
// bf16 grid; these use all bits that the activations have.
void exact_products(Report& report, Backend& b) {
  Lab lab(b);
  const int n = 37, in = 70;
  Values x = noise(static_cast<size_t>(n) * in, 41), w(static_cast<size_t>(in) * in), forward(x.size()), backward(x.size());
  for (double& v : x) v = b.act() == DType::BF16 ? v : static_cast<float>(v * (1 + 0x1p-15 + 0x1p-23));
  const auto source = [&](int o) { return (o * 3 + 1) % in; };  // a permutation: 3 and 70 share no factor
  for (int o = 0; o < in; ++o) w[static_cast<size_t>(o) * in + source(o)] = o % 2 ? 0.5 : -2;
  for (int t = 0; t < n; ++t)
    for (int o = 0; o < in; ++o) {
      const size_t row = static_cast<size_t>(t) * in;
      const double factor = o % 2 ? 0.5 : -2;
      forward[row + o] = factor * x[row + source(o)];
      backward[row + source(o)] = factor * x[row + o];
    }
  const Weight weight = lab.weight(w, in, in, DType::BF16);
  const LinearPart part{&weight};
  const LoraGrad none{};
  const int32_t* offsets = lab.i32({0, n});
  void *y = lab.poison_act(x.size()), *dx = lab.poison_act(x.size()), *rows = lab.act(x);
  lab.b.linear({.y = y, .ldy = in, .x = rows, .n = n, .parts = {&part, 1}});
  lab.b.linear_backward({.dx = dx, .dy = rows, .ldy = in, .n = n, .parts = {&part, 1}, .grads = {&none, 1}, .example_offsets = offsets,
                         .examples = 1});
  report.check("linear: exact products, bitwise", differing(lab.read(y, x.size(), b.act()), forward), 0);
  report.check("linear_backward: exact products, bitwise", differing(lab.read(dx, x.size(), b.act()), backward), 0);
}

}  // namespace

void check_laws(Report& report, DType type, const std::string& isa) {
  auto backend = make_cpu_backend(type, 2, isa);
  batch_invariance(report, *backend);
  split_invariance(report, *backend);
  gradient_split(report, *backend);
  dropout_rate(report, *backend);
  exact_products(report, *backend);
  thread_invariance(report, type, isa);
  if (type == DType::F64) check_derivatives(report, *backend);
}

}  // namespace ops_test
