// Backward ops against central differences of their forward ops, in f64.
//
// For an op y = f(x) and random g, d: (g.f(x + h d) - g.f(x - h d)) / 2h must equal backward(g).d.
#include "attention_lab.h"
#include "laws.h"
#include "linear_lab.h"

namespace ops_test {
namespace {

using Function = std::function<Values(const Values&)>;
constexpr double kStep = 1e-5, kLimit = 1e-7;  // h^2 error terms near 1e-10 times third derivatives of a few hundred at most

double dot(const Values& a, const Values& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

void check(Report& report, const std::string& name, const Values& x, const Values& g, const Function& forward, const Values& gradient) {
  const Values d = noise(x.size(), 777);
  Values up = x, down = x;
  for (size_t i = 0; i < x.size(); ++i) {
    up[i] += kStep * d[i];
    down[i] -= kStep * d[i];
  }
  const double wanted = (dot(g, forward(up)) - dot(g, forward(down))) / (2 * kStep), got = dot(gradient, d);
  report.check("derivative of " + name, std::abs(got - wanted) / std::max(1.0, std::abs(wanted)), kLimit);
}

void norm(Report& report, Backend& b) {
  Lab lab(b);
  const int n = 3, C = 21;
  const Values h = noise(n * C, 200), g = noise(n * C, 201);
  const float* weight = lab.f32(noise(C, 202));
  void* dh = lab.act(Values(n * C));
  b.norm_backward({.dh = dh, .dx = lab.act(g), .h = lab.act(h), .weight = weight, .eps = 1e-6f, .n = n, .C = C});
  check(report, "residual_norm", h, g, [&](const Values& v) {
    void* x = lab.poison_act(n * C);
    b.residual_norm({.h = lab.act(v), .layer = 0, .x = x, .weight = weight, .eps = 1e-6f, .n = n, .C = C});
    return lab.read_act(x, n * C);
  }, lab.read_act(dh, n * C));
}

void swiglu(Report& report, Backend& b) {
  Lab lab(b);
  const int n = 3, F = 13;
  const Values gu = noise(n * 2 * F, 203), g = noise(n * F, 204);
  void* d = lab.poison_act(n * 2 * F);
  b.swiglu_backward({d, lab.act(g), lab.act(gu), n, F});
  check(report, "swiglu", gu, g, [&](const Values& v) {
    void* out = lab.poison_act(n * F);
    b.swiglu({out, lab.act(v), n, F});
    return lab.read_act(out, n * F);
  }, lab.read_act(d, n * 2 * F));
}

void rope(Report& report, Backend& b) {
  Lab lab(b);
  const HeadShape s{2, 1, 6};
  const int n = 4, width = (s.H + 2 * s.KVH) * s.D, q = s.H * s.D, kv = s.KVH * s.D;
  Values c, sn;
  for (int i = 0; i < n * s.D / 2; ++i) {
    c.push_back(static_cast<float>(std::cos(i)));
    sn.push_back(static_cast<float>(std::sin(i)));
  }
  const float *cos = lab.f32(c), *sin = lab.f32(sn);
  const int32_t* positions = lab.i32({3, 0, 2, 1});
  const Values x = noise(n * width, 205), g = noise(n * width, 206);
  void* d = lab.act(g);
  b.rope_backward({.dqkv = d, .cos = cos, .sin = sin, .positions = positions, .n = n, .heads = s});
  check(report, "rope_store", x, g, [&](const Values& v) {
    void *qkv = lab.act(v), *k_new = lab.poison_act(n * kv), *v_new = lab.poison_act(n * kv);
    b.rope_store({.qkv = qkv, .k_new = k_new, .v_new = v_new, .cos = cos, .sin = sin, .positions = positions, .n = n, .heads = s});
    Values out = lab.read_act(qkv, n * width);
    const Values k = lab.read_act(k_new, n * kv), vs = lab.read_act(v_new, n * kv);
    for (int t = 0; t < n; ++t)
      for (int j = 0; j < kv; ++j) {
        out[static_cast<size_t>(t * width + q + j)] = k[static_cast<size_t>(t * kv + j)];
        out[static_cast<size_t>(t * width + q + kv + j)] = vs[static_cast<size_t>(t * kv + j)];
      }
    return out;
  }, lab.read_act(d, n * width));
}

// x of linear, with adapters and dropout; then A and B, which enter through LinearGroup's seeds, by their own differences.
void linear(Report& report, Backend& b) {
  Lab lab(b);
  const LinearShape s{19, {7, 5}, 3, 1, 0.3f, true, DType::F64};
  const int n = 11;
  LinearGroup group(lab, s, n);
  const Values x = linear_input(s, n), g = noise(static_cast<size_t>(n) * group.width, 207);
  auto forward = [&](const Values& v) {
    void* y = lab.poison_act(static_cast<size_t>(n) * group.width);
    b.linear({.y = y, .ldy = group.width, .x = lab.act(v), .n = n, .parts = group.parts, .dropout = &group.key});
    return lab.read_act(y, static_cast<size_t>(n) * group.width);
  };
  forward(x);  // leaves u
  std::vector<LoraGrad> grads(2);
  for (size_t p = 0; p < 2; ++p) grads[p] = {lab.master(Values(3 * 19)), lab.master(Values(static_cast<size_t>(s.outs[p]) * 3))};
  void* dx = lab.poison_act(static_cast<size_t>(n) * s.in);
  const int32_t* offsets = lab.i32({0, 4, n});
  b.linear_backward({.dx = dx, .dy = lab.act(g), .ldy = group.width, .x = lab.act(x), .n = n, .parts = group.parts,
                     .grads = grads, .dropout = &group.key, .example_offsets = offsets, .examples = 2});
  check(report, "linear in x", x, g, forward, lab.read_act(dx, static_cast<size_t>(n) * s.in));
  for (size_t p = 0; p < 2; ++p) {
    const size_t na = 3 * 19, nb = static_cast<size_t>(s.outs[p]) * 3;
    LoraUse& use = group.uses[p][0];
    const void *a = use.a, *bm = use.b;
    check(report, "linear in A", lab.read_master(a, na), g, [&](const Values& v) {
      use.a = lab.master(v);
      return forward(x);
    }, lab.read_master(grads[p].a, na));
    use.a = a;
    check(report, "linear in B", lab.read_master(bm, nb), g, [&](const Values& v) {
      use.b = lab.master(v);
      return forward(x);
    }, lab.read_master(grads[p].b, nb));
    use.b = bm;
  }
}

// Queries and own keys and values of a sequence with a constant prefix.
void attention(Report& report, Backend& b) {
  Lab lab(b);
  const HeadShape s{4, 2, 6};
  const int own = 5, q_len = 3, width = (s.H + 2 * s.KVH) * s.D, q = s.H * s.D, kv = s.KVH * s.D;
  AttentionBatch batch(lab, {{{4, own}, q_len}}, s);
  const Values x = noise(own * width, 208), g = noise(q_len * q, 209);
  void *out = lab.poison_act(q_len * q), *lse = lab.poison_master(q_len * s.H);
  void* queries = nullptr;
  auto forward = [&](const Values& v) {
    Values qs, k, vs;
    for (int t = 0; t < own; ++t) {
      const auto row = v.begin() + t * width;
      if (t >= own - q_len) qs.insert(qs.end(), row, row + q);
      k.insert(k.end(), row + q, row + q + kv);
      vs.insert(vs.end(), row + q + kv, row + width);
    }
    KvSegment segments[2] = {batch.segments[0], {lab.act(k), lab.act(vs), own, 0}};
    batch.call.segments = static_cast<const KvSegment*>(lab.raw(segments, sizeof segments));
    queries = lab.act(qs);
    b.attention({.out = out, .lse = lse, .q_base = queries, .ldq = q, .call = batch.call, .heads = s});
    return lab.read_act(out, q_len * q);
  };
  forward(x);
  void* d = lab.poison_act(own * width);
  b.attention_backward({.dqkv = d, .n_tail = own, .own_begin = lab.i32(batch.own_begin), .dout = lab.act(g), .out = out, .lse = lse,
                        .q_base = queries, .ldq = q, .call = batch.call, .heads = s});
  check(report, "attention", x, g, forward, lab.read_act(d, own * width));
}

void loss(Report& report, Backend& b) {
  Lab lab(b);
  const int n = 3, V = 17;
  const Values l = noise(n * V, 210), weights{0.5, 1.5, 0.25};
  const double* scale = static_cast<const double*>(lab.raw(weights.data(), n * sizeof(double)));
  const int32_t *labels = lab.i32({1, 5, 16, 0, 3, 4}), *targets = lab.i32({0, 1, 1});
  for (float w : {0.0f, 0.4f, 1.0f}) {
    std::vector<LabelResult> results(n);
    void* d = lab.poison_master(n * V);
    b.label_loss({.out = results, .dlogits = d, .logits = lab.master(l), .labels = labels, .targets = targets, .scale = scale,
                  .mass_weight = w, .n = n, .V = V});
    check(report, "label_loss", l, weights, [&](const Values& v) {
      b.label_loss({.out = results, .logits = lab.master(v), .labels = labels, .targets = targets, .scale = scale, .mass_weight = w,
                    .n = n, .V = V});
      b.synchronize();
      Values losses;
      for (const LabelResult& r : results) losses.push_back(r.loss);
      return losses;
    }, lab.read_master(d, n * V));
  }
  Values divergences(n);
  void *d = lab.poison_master(n * V), *base = lab.master(noise(n * V, 214));
  b.match_loss({.out = divergences, .dlogits = d, .logits = lab.master(l), .base = base, .scale = scale, .n = n, .V = V});
  check(report, "match_loss", l, weights, [&](const Values& v) {
    Values out(n);
    b.match_loss({.out = out, .logits = lab.master(v), .base = base, .scale = scale, .n = n, .V = V});
    return out;
  }, lab.read_master(d, n * V));
  const Weight head = lab.weight(noise(V * 7, 211), V, 7, DType::F64);
  const Values g = noise(n * V, 212);
  void* dx = lab.poison_act(n * 7);
  b.logits_backward({dx, lab.master(g), head, nullptr, n});
  check(report, "logits", noise(n * 7, 213), g, [&](const Values& v) {
    void* out = lab.poison_master(n * V);
    b.logits({out, lab.act(v), head, n});
    return lab.read_master(out, n * V);
  }, lab.read_act(dx, n * 7));
}

}  // namespace

void check_derivatives(Report& report, Backend& f64) {
  norm(report, f64);
  swiglu(report, f64);
  rope(report, f64);
  linear(report, f64);
  attention(report, f64);
  loss(report, f64);
}

}  // namespace ops_test
