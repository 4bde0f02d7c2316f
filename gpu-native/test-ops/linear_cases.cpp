// Cases of linear, linear_backward, logits and logits_backward: several parts of one input, several adapters, dropout.
#include "lab.h"
#include "linear_lab.h"

namespace ops_test {
namespace {

size_t area(int n, int m) { return static_cast<size_t>(n) * static_cast<size_t>(m); }

Values logits(Lab& lab, int n, int V, int C, DType stored) {
  const Weight head = lab.weight(noise(area(V, C), 30), V, C, stored);
  void* out = lab.poison_master(area(n, V));
  lab.b.logits({out, lab.act(noise(area(n, C), 31)), head, n});
  return lab.read_master(out, area(n, V));
}

Values logits_backward(Lab& lab, int n, int V, int C, bool cheap) {
  const Weight head = lab.weight(noise(area(V, C), 32), V, C, DType::BF16);
  Values d = noise(area(n, V), 33, 0.2);
  std::vector<int32_t> labels;
  for (int t = 0; t < n; ++t) {
    labels.push_back(t % V);
    labels.push_back((3 * t + 1) % V);
    if (cheap)
      for (int v = 0; v < V; ++v)
        if (v != labels[2 * static_cast<size_t>(t)] && v != labels.back()) d[area(t, V) + static_cast<size_t>(v)] = 0;
  }
  void* dx = lab.poison_act(area(n, C));
  lab.b.logits_backward({dx, lab.master(d), head, cheap ? lab.i32(labels) : nullptr, n});
  return lab.read_act(dx, area(n, C));
}

}  // namespace

std::vector<Case> linear_cases() {
  std::vector<Case> cases;
  const LinearShape shapes[] = {
      // in, outs, rank, adapters per part, dropout, bias, stored type
      {48, {40, 8, 8}, 4, 1, 0, true, DType::BF16},   {65, {33}, 1, 1, 0, false, DType::F32},
      {131, {70, 17}, 17, 1, 0.3f, true, DType::BF16}, {256, {96}, 16, 3, 0.05f, true, DType::BF16},
      {7, {5, 64, 3}, 16, 2, 0.5f, true, DType::F32},  {4864, {34}, 16, 1, 0.1f, false, DType::BF16},
      {96, {129}, 0, 0, 0, true, DType::F32}};
  for (const LinearShape& s : shapes)
    for (int n : {1, 2, 7, 37, 67}) {
      if (s.in > 4000 && n > 7) continue;
      cases.push_back({"linear " + s.name(n), [=](Lab& lab) { return run_linear(lab, s, n); }});
      if (s.adapters > 1) continue;
      cases.push_back({"linear_backward " + s.name(n), [=](Lab& lab) { return run_linear_backward(lab, s, n, true); }});
      cases.push_back({"linear_backward no dx " + s.name(n), [=](Lab& lab) { return run_linear_backward(lab, s, n, false); }});
    }
  const LinearShape deep{33, {4868}, 16, 1, 0.1f, false, DType::BF16};  // a reduction of several blocks in backward
  cases.push_back({"linear_backward " + deep.name(5), [=](Lab& lab) { return run_linear_backward(lab, deep, 5, true); }});
  for (int n : {1, 8, 19}) {
    cases.push_back({"logits n=" + std::to_string(n), [=](Lab& lab) { return logits(lab, n, 201, 65, DType::BF16); }});
    cases.push_back({"logits f32 n=" + std::to_string(n), [=](Lab& lab) { return logits(lab, n, 77, 48, DType::F32); }});
    cases.push_back({"logits_backward n=" + std::to_string(n), [=](Lab& lab) { return logits_backward(lab, n, 2100, 37, false); }});
    cases.push_back({"logits_backward labels n=" + std::to_string(n), [=](Lab& lab) { return logits_backward(lab, n, 53, 37, true); }});
  }
  return cases;
}

}  // namespace ops_test
