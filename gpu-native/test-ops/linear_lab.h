// One linear group with adapters, shared by the comparison cases, the invariance laws and the derivative checks.
#pragma once
#include "lab.h"

namespace ops_test {

struct LinearShape {
  int in;
  std::vector<int> outs;
  int r, adapters;  // adapters per part, over consecutive token ranges with a gap of one token between them
  float dropout;
  bool bias;
  DType stored;
  std::string name(int n) const {
    std::string s = "n=" + std::to_string(n) + " in=" + std::to_string(in) + " outs=";
    for (int o : outs) s += std::to_string(o) + "+";
    return s + " r=" + std::to_string(r) + " adapters=" + std::to_string(adapters) + " p=" + std::to_string(dropout).substr(0, 4);
  }
};

// Device copies of everything a linear() call needs.
struct LinearGroup {
  std::vector<Weight> weights;
  std::vector<std::vector<LoraUse>> uses;
  std::vector<LinearPart> parts;
  DropoutKey key;
  int width = 0;

  // b_scale of the LoRA B matrices; tokens [token0, token0 + n) of the same endless sequence of examples
  LinearGroup(Lab& lab, const LinearShape& s, int n, int token0 = 0) {
    weights.reserve(s.outs.size());
    uses.resize(s.outs.size());
    std::vector<int32_t> example, position;
    for (int t = token0; t < token0 + n; ++t) {
      example.push_back(t / 9);
      position.push_back(100 + t % 9);
    }
    key = {77, 5, lab.i32(example), lab.i32(position)};
    for (size_t p = 0; p < s.outs.size(); ++p) {
      const int out = s.outs[p];
      const uint64_t seed = 100 + 10 * p;
      weights.push_back(lab.weight(noise(static_cast<size_t>(out) * s.in, seed, 1 / std::sqrt(s.in)), out, s.in, s.stored));
      if (s.bias) weights.back().bias = lab.f32(noise(static_cast<size_t>(out), seed + 1));
      for (int a = 0; a < s.adapters; ++a) {
        LoraUse use;
        use.begin = n * a / s.adapters + (a ? 1 : 0);
        use.end = n * (a + 1) / s.adapters;
        if (use.begin >= use.end) continue;
        use.r = s.r;
        use.scaling = 1.5f;
        use.dropout = s.dropout;
        use.a = lab.master(noise(static_cast<size_t>(s.r) * s.in, seed + 2 + a, 1 / std::sqrt(s.in)));
        use.b = lab.master(noise(static_cast<size_t>(out) * s.r, seed + 5 + a, 0.5));
        use.u = lab.poison_master(static_cast<size_t>(use.end - use.begin) * s.r);
        uses[p].push_back(use);
      }
      parts.push_back({&weights.back(), width, uses[p], static_cast<uint32_t>(40 + p)});
      width += out;
    }
  }
};

inline Values linear_input(const LinearShape& s, int n, int token0 = 0) {
  const Values all = noise(static_cast<size_t>(token0 + n) * s.in, 20);
  return {all.begin() + static_cast<int64_t>(token0) * s.in, all.end()};
}

inline Values run_linear(Lab& lab, const LinearShape& s, int n, int token0 = 0) {
  LinearGroup g(lab, s, n, token0);
  void* y = lab.poison_act(static_cast<size_t>(n) * g.width);
  lab.b.linear({.y = y, .ldy = g.width, .x = lab.act(linear_input(s, n, token0)), .n = n,
                .parts = g.parts, .dropout = &g.key});
  Values out = lab.read_act(y, static_cast<size_t>(n) * g.width);
  for (const auto& part : g.uses)
    for (const LoraUse& use : part)
      for (double v : lab.read_master(use.u, static_cast<size_t>(use.end - use.begin) * s.r)) out.push_back(v);
  return out;
}

// dx, then dA and dB of every part. Examples of 9 tokens; gradients start at a known value, for they accumulate.
inline Values run_linear_backward(Lab& lab, const LinearShape& s, int n, bool want_dx) {
  LinearGroup g(lab, s, n);
  void* x = lab.act(linear_input(s, n));
  void* y = lab.poison_act(static_cast<size_t>(n) * g.width);
  lab.b.linear({.y = y, .ldy = g.width, .x = x, .n = n, .parts = g.parts, .dropout = &g.key});
  std::vector<int32_t> offsets;
  for (int t = 0; t < n; t += 9) offsets.push_back(t);
  const int examples = static_cast<int>(offsets.size());
  offsets.push_back(n);
  std::vector<LoraGrad> grads(s.outs.size());
  for (size_t p = 0; p < s.outs.size() && s.adapters; ++p)
    grads[p] = {lab.master(noise(static_cast<size_t>(s.r) * s.in, 21)), lab.master(noise(static_cast<size_t>(s.outs[p]) * s.r, 22))};
  void* dx = want_dx ? lab.poison_act(static_cast<size_t>(n) * s.in) : nullptr;
  lab.b.linear_backward({.dx = dx, .dy = lab.act(noise(static_cast<size_t>(n) * g.width, 23)), .ldy = g.width, .x = x, .n = n,
                         .parts = g.parts,
                         .grads = grads, .dropout = &g.key,
                         .example_offsets = lab.i32(offsets), .examples = examples});
  Values out = want_dx ? lab.read_act(dx, static_cast<size_t>(n) * s.in) : Values{};
  for (size_t p = 0; p < s.outs.size() && s.adapters; ++p) {
    for (double v : lab.read_master(grads[p].a, static_cast<size_t>(s.r) * s.in)) out.push_back(v);
    for (double v : lab.read_master(grads[p].b, static_cast<size_t>(s.outs[p]) * s.r)) out.push_back(v);
  }
  return out;
}

}  // namespace ops_test
