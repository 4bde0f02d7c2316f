// Cases of the token-by-token ops. Widths are no multiples of a vector.
#include "lab.h"

namespace ops_test {
namespace {

std::string at(const char* op, int n, int width) { return std::string(op) + " n=" + std::to_string(n) + " width=" + std::to_string(width); }
size_t area(int n, int m) { return static_cast<size_t>(n) * static_cast<size_t>(m); }

Values embed(Lab& lab, int n, int C, DType stored) {
  const Weight table = lab.weight(noise(area(11, C), 1), 11, C, stored);
  std::vector<int32_t> tokens(static_cast<size_t>(n));
  for (int t = 0; t < n; ++t) tokens[static_cast<size_t>(t)] = (t * 7 + 3) % 11;
  void* h = lab.poison_act(area(n, C));
  lab.b.embed({h, table, lab.i32(tokens), n});
  return lab.read_act(h, area(n, C));
}

// Two rows with overlapping entries, one of magnitude 0, one of another layer.
Values residual_norm(Lab& lab, int n, int C, bool delta, bool steered, bool normed) {
  void* h = lab.act(noise(area(n, C), 2));
  void* x = lab.poison_act(area(n, C));
  std::vector<int32_t> row(static_cast<size_t>(n));
  for (int t = n / 2; t < n; ++t) row[static_cast<size_t>(t)] = 1;
  const std::vector<SteerEntry> entries = {{0, 4, 0, n / 2, 0, 3.5f}, {3, 4, 0, n, 1, 0.7f}, {3, 4, n / 2, n, 2, 0.0f}, {4, 9, n / 2, n, 2, 5.0f},
                                           {1, 8, n / 2 + 1, n, 1, -2.25f}};
  const SteerTable steer{lab.i32(row), lab.i32({0, 2, 5}),
                         static_cast<const SteerEntry*>(lab.raw(entries.data(), entries.size() * sizeof(SteerEntry))),
                         lab.f32(noise(area(3, C), 3))};
  lab.b.residual_norm({.h = h, .delta = delta ? lab.act(noise(area(n, C), 4)) : nullptr, .steer = steered ? &steer : nullptr,
                       .layer = 3, .x = normed ? x : nullptr, .weight = normed ? lab.f32(noise(static_cast<size_t>(C), 5)) : nullptr,
                       .eps = 1e-6f, .n = n, .C = C});
  Values out = lab.read_act(h, area(n, C));
  if (normed)
    for (double v : lab.read_act(x, area(n, C))) out.push_back(v);
  return out;
}

Values norm_backward(Lab& lab, int n, int C) {
  void* dh = lab.act(noise(area(n, C), 6));
  lab.b.norm_backward({.dh = dh, .dx = lab.act(noise(area(n, C), 7)), .h = lab.act(noise(area(n, C), 8, 2)),
                       .weight = lab.f32(noise(static_cast<size_t>(C), 9)), .eps = 1e-6f, .n = n, .C = C});
  return lab.read_act(dh, area(n, C));
}

Values swiglu(Lab& lab, int n, int F) {
  void* out = lab.poison_act(area(n, F));
  lab.b.swiglu({out, lab.act(noise(area(n, 2 * F), 10, 6)), n, F});
  return lab.read_act(out, area(n, F));
}

Values swiglu_backward(Lab& lab, int n, int F) {
  void* d = lab.poison_act(area(n, 2 * F));
  lab.b.swiglu_backward({d, lab.act(noise(area(n, F), 11)), lab.act(noise(area(n, 2 * F), 12, 3)), n, F});
  return lab.read_act(d, area(n, 2 * F));
}

struct Angles {
  float *cos, *sin;
  int32_t* positions;
};
Angles angles(Lab& lab, int n, int half) {
  Values c, s;
  for (int p = 0; p < n + 5; ++p)
    for (int i = 0; i < half; ++i) {
      c.push_back(std::cos(p * std::pow(10000.0, -static_cast<double>(i) / half)));
      s.push_back(std::sin(p * std::pow(10000.0, -static_cast<double>(i) / half)));
    }
  std::vector<int32_t> positions;
  for (int t = 0; t < n; ++t) positions.push_back((t * 3) % (n + 5));
  return {lab.f32(c), lab.f32(s), lab.i32(positions)};
}

Values rope_store(Lab& lab, int n, HeadShape s, bool slots) {
  const int width = (s.H + 2 * s.KVH) * s.D, kv = s.KVH * s.D;
  const Angles a = angles(lab, n, s.D / 2);
  std::vector<int32_t> slot;
  for (int t = 0; t < n; ++t) slot.push_back(n - 1 - t);
  void *qkv = lab.act(noise(area(n, width), 13)), *k = lab.poison_act(area(n, kv)), *v = lab.poison_act(area(n, kv));
  lab.b.rope_store({.qkv = qkv, .k_new = k, .v_new = v, .cos = a.cos, .sin = a.sin, .positions = a.positions,
                    .slot = slots ? lab.i32(slot) : nullptr, .n = n, .heads = s});
  Values out = lab.read_act(k, area(n, kv));
  for (double x : lab.read_act(v, area(n, kv))) out.push_back(x);
  const Values rows = lab.read_act(qkv, area(n, width));
  for (int t = 0; t < n; ++t) out.insert(out.end(), rows.begin() + t * width, rows.begin() + t * width + s.H * s.D);
  return out;
}

Values rope_backward(Lab& lab, int n, HeadShape s) {
  const int width = (s.H + 2 * s.KVH) * s.D;
  const Angles a = angles(lab, n, s.D / 2);
  void* d = lab.act(noise(area(n, width), 14));
  lab.b.rope_backward({.dqkv = d, .cos = a.cos, .sin = a.sin, .positions = a.positions, .n = n, .heads = s});
  return lab.read_act(d, area(n, width));
}

Values rows(Lab& lab, int n, int width) {
  std::vector<int32_t> index;
  for (int i = 0; i < n; ++i) index.push_back((i * 2) % (2 * n));
  void *big = lab.act(noise(area(2 * n, width), 15)), *small = lab.poison_act(area(n, width));
  lab.b.gather_rows({small, big, lab.i32(index), n, width});
  lab.b.scatter_add_rows({big, small, lab.i32(index), n, width});
  lab.b.add({small, big, area(n, width)});
  void* wide = lab.poison(area(n, width), DType::F32);
  lab.b.to_f32({static_cast<float*>(wide), small, area(n, width)});
  Values out = lab.read_act(big, area(2 * n, width));
  for (double v : lab.read(wide, area(n, width), DType::F32)) out.push_back(v);
  return out;
}

}  // namespace

std::vector<Case> row_cases() {
  std::vector<Case> cases;
  for (int n : {1, 7, 37})
    for (int width : {5, 48, 131}) {
      cases.push_back({at("embed", n, width), [=](Lab& lab) { return embed(lab, n, width, DType::BF16); }});
      cases.push_back({at("embed f32", n, width), [=](Lab& lab) { return embed(lab, n, width, DType::F32); }});
      for (int flags = 0; flags < 8; ++flags)
        cases.push_back({at("residual_norm", n, width) + " flags=" + std::to_string(flags),
                         [=](Lab& lab) { return residual_norm(lab, n, width, flags & 1, flags & 2, flags & 4); }});
      cases.push_back({at("norm_backward", n, width), [=](Lab& lab) { return norm_backward(lab, n, width); }});
      cases.push_back({at("swiglu", n, width), [=](Lab& lab) { return swiglu(lab, n, width); }});
      cases.push_back({at("swiglu_backward", n, width), [=](Lab& lab) { return swiglu_backward(lab, n, width); }});
      cases.push_back({at("gather_rows scatter_add_rows add to_f32", n, width), [=](Lab& lab) { return rows(lab, n, width); }});
    }
  for (const HeadShape s : {HeadShape{4, 2, 8}, HeadShape{3, 1, 32}, HeadShape{2, 2, 70}})
    for (int n : {1, 37}) {
      cases.push_back({at("rope_store", n, s.D), [=](Lab& lab) { return rope_store(lab, n, s, false); }});
      cases.push_back({at("rope_store slots", n, s.D), [=](Lab& lab) { return rope_store(lab, n, s, true); }});
      cases.push_back({at("rope_backward", n, s.D), [=](Lab& lab) { return rope_backward(lab, n, s); }});
    }
  return cases;
}

}  // namespace ops_test
