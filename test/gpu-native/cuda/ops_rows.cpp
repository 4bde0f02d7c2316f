// Token-wise ops against their twins: odd widths, one token, repeated indices, every steering condition.
#include "twin.h"

namespace twin {
namespace {

std::vector<int32_t> tokens(Twin& t, int n, int below) {
  std::vector<int32_t> v(static_cast<size_t>(n));
  for (int32_t& x : v) x = t.random.below(below);
  return v;
}

void embed(Twin& t) {
  for (const DType stored : {DType::BF16, DType::F32, DType::F16})
    for (const int C : {37, 64}) {
      const int V = 50, n = 9;
      std::vector<uint16_t> halves(static_cast<size_t>(V * C));
      for (uint16_t& h : halves) h = static_cast<uint16_t>(0x3000 + t.random.below(0x0c00) + (t.random.below(2) ? 0x8000 : 0));
      const std::vector<float> values = t.random.normals(static_cast<size_t>(V * C), 1);
      const HostTensor host{stored == DType::F32 ? static_cast<const void*>(values.data()) : halves.data(), stored, V, C};
      const Weight a = t.cpu.load_matrix(host), b = t.gpu.load_matrix(host);
      const auto ids = t.table(tokens(t, n, V));
      Buffer h = t.poisoned_acts(static_cast<size_t>(n * C));
      t.cpu.embed({h.cpu, a, ids.first, n});
      t.gpu.embed({h.gpu, b, ids.second, n});
      t.compare("C" + std::to_string(C) + "_type" + std::to_string(static_cast<int>(stored)), h, 0);
    }
}

// Two rows of steering entries: overlapping, wrong layer, outside the window, zero magnitude.
void residual_norm(Twin& t) {
  for (const int C : {36, 67, 1056})
    for (const int n : {1, 37}) {
      const std::vector<SteerEntry> list = {{0, 5, 0, n, 1, 0.7f}, {2, 3, n / 2, n, 0, -1.3f}, {0, 9, 0, n, 2, 0.0f},
                                            {3, 4, 0, n, 0, 5.0f},  {2, 9, 0, 1, 2, 2.5f}};
      const auto entries = t.table(list);
      const auto offsets = t.table(std::vector<int32_t>{0, 3, 5});
      std::vector<int32_t> row(static_cast<size_t>(n));
      for (int i = 0; i < n; ++i) row[static_cast<size_t>(i)] = i % 2;
      const auto rows = t.table(row);
      const Buffer vectors = t.floats(static_cast<size_t>(3 * C)), weight = t.floats(static_cast<size_t>(C));
      const SteerTable a{rows.first, offsets.first, entries.first, static_cast<const float*>(vectors.cpu)};
      const SteerTable b{rows.second, offsets.second, entries.second, static_cast<const float*>(vectors.gpu)};
      for (int variant = 0; variant < 4; ++variant) {
        Buffer h = t.acts(static_cast<size_t>(n * C)), x = t.poisoned_acts(static_cast<size_t>(n * C));
        const Buffer delta = t.acts(static_cast<size_t>(n * C));
        const bool with_delta = variant != 1, with_steer = variant != 2, with_x = variant != 3;
        t.cpu.residual_norm({.h = h.cpu, .delta = with_delta ? delta.cpu : nullptr, .steer = with_steer ? &a : nullptr, .layer = 2,
                             .x = with_x ? x.cpu : nullptr, .weight = static_cast<const float*>(weight.cpu), .eps = 1e-6f, .n = n,
                             .C = C});
        t.gpu.residual_norm({.h = h.gpu, .delta = with_delta ? delta.gpu : nullptr, .steer = with_steer ? &b : nullptr, .layer = 2,
                             .x = with_x ? x.gpu : nullptr, .weight = static_cast<const float*>(weight.gpu), .eps = 1e-6f, .n = n,
                             .C = C});
        const std::string at = "C" + std::to_string(C) + "_n" + std::to_string(n) + "_v" + std::to_string(variant);
        t.compare(at + "_h", h, t.half() ? 0 : 1e-6);
        if (with_x) t.compare(at + "_x", x);
      }
      Buffer dh = t.acts(static_cast<size_t>(n * C));
      const Buffer dx = t.acts(static_cast<size_t>(n * C)), h = t.acts(static_cast<size_t>(n * C));
      t.cpu.norm_backward({.dh = dh.cpu, .dx = dx.cpu, .h = h.cpu, .weight = static_cast<const float*>(weight.cpu), .eps = 1e-6f,
                           .n = n, .C = C});
      t.gpu.norm_backward({.dh = dh.gpu, .dx = dx.gpu, .h = h.gpu, .weight = static_cast<const float*>(weight.gpu), .eps = 1e-6f,
                           .n = n, .C = C});
      t.compare("C" + std::to_string(C) + "_n" + std::to_string(n) + "_backward", dh);
    }
}

void swiglu(Twin& t) {
  for (const int F : {33, 1028})
    for (const int n : {1, 37}) {
      const Buffer gu = t.acts(static_cast<size_t>(2 * n * F), 2), dout = t.acts(static_cast<size_t>(n * F));
      Buffer out = t.poisoned_acts(static_cast<size_t>(n * F)), dgu = t.poisoned_acts(static_cast<size_t>(2 * n * F));
      t.cpu.swiglu({out.cpu, gu.cpu, n, F});
      t.gpu.swiglu({out.gpu, gu.gpu, n, F});
      t.cpu.swiglu_backward({dgu.cpu, dout.cpu, gu.cpu, n, F});
      t.gpu.swiglu_backward({dgu.gpu, dout.gpu, gu.gpu, n, F});
      const std::string at = "F" + std::to_string(F) + "_n" + std::to_string(n);
      t.compare(at, out);
      t.compare(at + "_backward", dgu);
    }
}

void rope(Twin& t) {
  const HeadShape shapes[] = {{4, 2, 8}, {5, 1, 20}, {3, 3, 64}};
  for (const HeadShape& s : shapes) {
    const int n = 37, max_position = 90, width = (s.H + 2 * s.KVH) * s.D, kv = s.KVH * s.D, half = s.D / 2;
    std::vector<float> cos, sin;
    for (int p = 0; p < max_position; ++p)
      for (int i = 0; i < half; ++i) {
        const double angle = p * std::pow(10000.0, -2.0 * i / s.D);
        cos.push_back(static_cast<float>(std::cos(angle)));
        sin.push_back(static_cast<float>(std::sin(angle)));
      }
    const Buffer c = t.from(cos, DType::F32), si = t.from(sin, DType::F32);
    const auto positions = t.table(tokens(t, n, max_position));
    std::vector<int32_t> slot(static_cast<size_t>(n));
    for (int i = 0; i < n; ++i) slot[static_cast<size_t>(i)] = (i * 11 + 3) % n;
    const auto slots = t.table(slot);
    for (const bool with_slots : {false, true}) {
      Buffer qkv = t.acts(static_cast<size_t>(n * width)), k = t.poisoned_acts(static_cast<size_t>(n * kv)), v = t.poisoned_acts(static_cast<size_t>(n * kv));
      t.cpu.rope_store({.qkv = qkv.cpu, .k_new = k.cpu, .v_new = v.cpu, .cos = static_cast<float*>(c.cpu),
                        .sin = static_cast<float*>(si.cpu), .positions = positions.first, .slot = with_slots ? slots.first : nullptr,
                        .n = n, .heads = s});
      t.gpu.rope_store({.qkv = qkv.gpu, .k_new = k.gpu, .v_new = v.gpu, .cos = static_cast<float*>(c.gpu),
                        .sin = static_cast<float*>(si.gpu), .positions = positions.second, .slot = with_slots ? slots.second : nullptr,
                        .n = n, .heads = s});
      const std::string at = "D" + std::to_string(s.D) + (with_slots ? "_slots" : "");
      t.compare(at + "_q", qkv, t.half() ? 0 : 1e-6);
      t.compare(at + "_k", k, t.half() ? 0 : 1e-6);
      t.compare(at + "_v", v, 0);
      t.cpu.rope_backward({.dqkv = qkv.cpu, .cos = static_cast<float*>(c.cpu), .sin = static_cast<float*>(si.cpu),
                           .positions = positions.first, .n = n, .heads = s});
      t.gpu.rope_backward({.dqkv = qkv.gpu, .cos = static_cast<float*>(c.gpu), .sin = static_cast<float*>(si.gpu),
                           .positions = positions.second, .n = n, .heads = s});
      t.compare(at + "_backward", qkv, t.half() ? 1e-4 : 1e-6);
    }
  }
}

void copies(Twin& t) {
  for (const int width : {3, 64, 131}) {
    const int n = 19, rows = 25;
    const Buffer src = t.acts(static_cast<size_t>(rows * width));
    const auto index = t.table(tokens(t, n, rows));
    Buffer dst = t.poisoned_acts(static_cast<size_t>(n * width));
    t.cpu.gather_rows({dst.cpu, src.cpu, index.first, n, width});
    t.gpu.gather_rows({dst.gpu, src.gpu, index.second, n, width});
    t.compare("gather_w" + std::to_string(width), dst, 0);
    Buffer sum = t.acts(static_cast<size_t>(rows * width));
    t.cpu.scatter_add_rows({sum.cpu, dst.cpu, index.first, n, width});
    t.gpu.scatter_add_rows({sum.gpu, dst.gpu, index.second, n, width});
    t.compare("scatter_w" + std::to_string(width), sum, 0);
    Buffer wide = t.poisoned(sum.count, DType::F32);
    t.cpu.to_f32({static_cast<float*>(wide.cpu), sum.cpu, sum.count});
    t.gpu.to_f32({static_cast<float*>(wide.gpu), sum.gpu, sum.count});
    t.compare("to_f32_w" + std::to_string(width), wide, 0);
    t.cpu.add({sum.cpu, src.cpu, sum.count});
    t.gpu.add({sum.gpu, src.gpu, sum.count});
    t.compare("add_w" + std::to_string(width), sum, 0);
  }
}

void random_weights(Twin& t) {
  const Weight a = t.cpu.random_matrix(33, 77, 0.5f, 11, 3), b = t.gpu.random_matrix(33, 77, 0.5f, 11, 3);
  t.compare("matrix", {const_cast<void*>(a.data), const_cast<void*>(b.data), 33 * 77, b.type}, t.half() ? 4e-3 : 1e-5);
  std::vector<float> values = t.random.normals(1000, 1);
  const HostTensor host{values.data(), DType::F32, 1, 1000};
  t.compare("vector", {const_cast<float*>(t.cpu.load_vector(host)), const_cast<float*>(t.gpu.load_vector(host)), 1000, DType::F32}, 0);
}

// More bytes than one pinned slot, and more calls than the ring has slots.
void transfers(Twin& t) {
  std::vector<uint32_t> big(3 << 20), back(big.size());
  for (size_t i = 0; i < big.size(); ++i) big[i] = static_cast<uint32_t>(i * 2654435761u);
  void* p = t.gpu.allocate(big.size() * 4);
  t.gpu.upload(p, big.data(), big.size() * 4);
  t.gpu.download(back.data(), p, big.size() * 4);
  t.expect("large", back == big);
  for (int i = 0; i < 200; ++i) {
    const uint32_t v = static_cast<uint32_t>(i) * 3u;
    t.gpu.upload(static_cast<uint32_t*>(p) + i, &v, 4);
  }
  t.gpu.download(back.data(), p, 800);
  bool same = true;
  for (uint32_t i = 0; i < 200; ++i) same = same && back[i] == i * 3u;
  t.expect("many", same);
  t.gpu.zero(p, 400);
  t.gpu.copy(static_cast<char*>(p) + 400, p, 400);
  t.gpu.download(back.data(), p, 800);
  same = true;
  for (uint32_t i = 0; i < 200; ++i) same = same && back[i] == 0;
  t.expect("zero_copy", same);
  t.gpu.release(p);
  t.expect("reuse", t.gpu.allocate(big.size() * 4) == p);
}

}  // namespace

std::vector<Case> row_cases() {
  return {{"embed", embed}, {"residual_norm", residual_norm}, {"swiglu", swiglu},   {"rope", rope},
          {"copies", copies}, {"random_weights", random_weights}, {"transfers", transfers}};
}

}  // namespace twin
