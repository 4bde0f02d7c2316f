// Projections against their twin: neighbouring and parted weights, biases, several adapters, dropout, odd shapes, gradients.
#include "twin.h"

namespace twin {
namespace {

struct Pair {
  Weight cpu, gpu;
};

// What a bias is: bf16 numbers, as in the checkpoints that were trained so, or F32.
enum class Bias { None, Half, Full };

Pair weight(Twin& t, int out, int in, Bias bias) {
  const Buffer values = t.from(t.random.normals(static_cast<size_t>(out * in), 1.0f / std::sqrt(static_cast<float>(in))), t.act());
  Pair p;
  const HostTensor host{values.cpu, t.act(), out, in};
  p.cpu = t.cpu.load_matrix(host);
  p.gpu = t.gpu.load_matrix(host);
  if (bias != Bias::None) {
    std::vector<float> numbers = t.random.normals(static_cast<size_t>(out), 1);
    if (bias == Bias::Half)
      for (float& v : numbers) v = to_float(to_bf16(v));
    const Buffer b = t.from(numbers, DType::F32);
    p.cpu.bias = static_cast<const float*>(b.cpu);
    p.gpu.bias = static_cast<const float*>(b.gpu);
  }
  return p;
}

struct Key {
  DropoutKey cpu, gpu;
};
Key dropout_key(Twin& t, int n, int examples) {
  std::vector<int32_t> example, position;
  for (int i = 0; i < n; ++i) {
    example.push_back(i * examples / n);
    position.push_back(i % 17 + 3);
  }
  const auto e = t.table(example), p = t.table(position);
  return {{77, 5, e.first, p.first}, {77, 5, e.second, p.second}};
}

// A group of parts like q, k, v: widths, biases, and adapters over token ranges.
struct Group {
  std::vector<Pair> weights;
  std::vector<std::vector<LoraUse>> cpu_uses, gpu_uses;
  std::vector<Buffer> us;
  std::vector<LinearPart> cpu, gpu;
  int width = 0;
};

Group group(Twin& t, const std::vector<int>& outs, int in, int n, Bias bias, int rank, int adapters, float dropout) {
  Group g;
  for (const int out : outs) g.weights.push_back(weight(t, out, in, bias));
  g.cpu_uses.resize(outs.size());
  g.gpu_uses.resize(outs.size());
  for (size_t i = 0; i < outs.size(); ++i) {
    for (int l = 0; l < adapters; ++l) {
      const int begin = n * l / adapters, end = n * (l + 1) / adapters;
      const Buffer a = t.floats(static_cast<size_t>(rank * in), 1.0f / std::sqrt(static_cast<float>(in))),
                   b = t.floats(static_cast<size_t>(outs[i] * rank)), shift = t.floats(static_cast<size_t>(outs[i])), u = t.poisoned(static_cast<size_t>((end - begin) * rank), DType::F32);
      g.us.push_back(u);
      const bool biased = l % 2 == 1;  // some adapters carry a bias
      g.cpu_uses[i].push_back({begin, end, rank, 0.5f, dropout, a.cpu, b.cpu, u.cpu, biased ? shift.cpu : nullptr});
      g.gpu_uses[i].push_back({begin, end, rank, 0.5f, dropout, a.gpu, b.gpu, u.gpu, biased ? shift.gpu : nullptr});
    }
    g.cpu.push_back({&g.weights[i].cpu, g.width, g.cpu_uses[i], static_cast<uint32_t>(7 + i)});
    g.gpu.push_back({&g.weights[i].gpu, g.width, g.gpu_uses[i], static_cast<uint32_t>(7 + i)});
    g.width += outs[i];
  }
  for (size_t i = 0; i < outs.size(); ++i) {
    g.cpu[i].w = &g.weights[i].cpu;
    g.gpu[i].w = &g.weights[i].gpu;
  }
  return g;
}

void check_linear(Twin& t, const std::string& at, const std::vector<int>& outs, int in, int n, Bias bias, int rank, int adapters, float dropout) {
  const Group g = group(t, outs, in, n, bias, rank, adapters, dropout);
  const Key key = dropout_key(t, n, 3);
  const Buffer x = t.acts(static_cast<size_t>(n * in));
  Buffer y = t.poisoned_acts(static_cast<size_t>(n * g.width));
  t.cpu.linear({.y = y.cpu, .ldy = g.width, .x = x.cpu, .n = n, .parts = g.cpu,
                .dropout = dropout > 0 ? &key.cpu : nullptr});
  t.gpu.linear({.y = y.gpu, .ldy = g.width, .x = x.gpu, .n = n, .parts = g.gpu,
                .dropout = dropout > 0 ? &key.gpu : nullptr});
  t.compare(at, y);
  for (const Buffer& u : g.us) t.compare(at + "_u", u, 4e-6);  // two bf16 terms of A would not do
}

void linear(Twin& t) {
  check_linear(t, "one", {64}, 64, 1, Bias::None, 0, 0, 0);
  check_linear(t, "odd", {37}, 29, 37, Bias::Full, 0, 0, 0);
  check_linear(t, "odd_columns", {61}, 72, 37, Bias::None, 4, 1, 0);
  check_linear(t, "qkv", {64, 32, 32}, 64, 37, Bias::Half, 16, 1, 0.3f);
  check_linear(t, "qkv_rank3", {64, 32, 32}, 96, 5, Bias::Full, 3, 2, 0.05f);
  check_linear(t, "gate_up", {200, 200}, 136, 70, Bias::None, 0, 0, 0);
  check_linear(t, "rank40", {72}, 40, 11, Bias::None, 40, 1, 0.5f);
  check_linear(t, "many_adapters", {48, 24}, 56, 30, Bias::Half, 5, 30, 0);
  check_linear(t, "tall", {136}, 264, 150, Bias::Half, 8, 3, 0.1f);
}

void check_backward(Twin& t, const std::string& at, const std::vector<int>& outs, int in, int n, int rank, float dropout, bool want_dx) {
  const Group g = group(t, outs, in, n, Bias::Half, rank, rank ? 1 : 0, dropout);
  const Key key = dropout_key(t, n, 3);
  const Buffer x = t.acts(static_cast<size_t>(n * in)), dy = t.acts(static_cast<size_t>(n * g.width));
  Buffer y = t.poisoned_acts(static_cast<size_t>(n * g.width)), dx = t.poisoned_acts(static_cast<size_t>(n * in));
  const DropoutKey *ck = dropout > 0 ? &key.cpu : nullptr, *gk = dropout > 0 ? &key.gpu : nullptr;
  t.cpu.linear({.y = y.cpu, .ldy = g.width, .x = x.cpu, .n = n, .parts = g.cpu, .dropout = ck});  // fills u
  t.gpu.linear({.y = y.gpu, .ldy = g.width, .x = x.gpu, .n = n, .parts = g.gpu, .dropout = gk});
  std::vector<LoraGrad> cpu_grads(outs.size()), gpu_grads(outs.size());
  std::vector<Buffer> grads;
  for (size_t i = 0; i < outs.size() && rank; ++i) {
    const Buffer a = t.floats(static_cast<size_t>(rank * in)), b = t.floats(static_cast<size_t>(outs[i] * rank));
    grads.insert(grads.end(), {a, b});
    cpu_grads[i] = {a.cpu, b.cpu};
    gpu_grads[i] = {a.gpu, b.gpu};
  }
  const auto offsets = t.table(std::vector<int32_t>{0, n / 3, n / 3, n});  // the second example is empty
  t.cpu.linear_backward({.dx = want_dx ? dx.cpu : nullptr, .dy = dy.cpu, .ldy = g.width, .x = x.cpu, .n = n,
                         .parts = g.cpu, .grads = cpu_grads, .dropout = ck,
                         .example_offsets = offsets.first, .examples = 3});
  t.gpu.linear_backward({.dx = want_dx ? dx.gpu : nullptr, .dy = dy.gpu, .ldy = g.width, .x = x.gpu, .n = n,
                         .parts = g.gpu, .grads = gpu_grads, .dropout = gk,
                         .example_offsets = offsets.second, .examples = 3});
  if (want_dx) t.compare(at + "_dx", dx);
  for (const Buffer& b : grads) t.compare(at + "_grad", b, 2e-5);
}

void linear_backward(Twin& t) {
  check_backward(t, "one", {64}, 64, 1, 4, 0, true);
  check_backward(t, "plain", {88, 88}, 72, 37, 0, 0, true);
  check_backward(t, "qkv", {64, 32, 32}, 64, 37, 16, 0.3f, true);
  check_backward(t, "first_layer", {64, 32, 32}, 64, 37, 16, 0.3f, false);
  check_backward(t, "odd", {35, 21}, 29, 13, 5, 0.2f, true);
  check_backward(t, "rank40", {72}, 136, 150, 40, 0.1f, true);
}

// A row's bits must not depend on the rows beside it, and a gradient not on how the batch is cut.
void invariance(Twin& t) {
  const int in = 136, n = 150;
  const Group g = group(t, {136, 64}, in, n, Bias::Full, 8, 1, 0);
  const Buffer x = t.acts(static_cast<size_t>(n * in));
  Buffer all = t.poisoned_acts(static_cast<size_t>(n * g.width)), one = t.poisoned_acts(static_cast<size_t>(g.width));
  t.gpu.linear({.y = all.gpu, .ldy = g.width, .x = x.gpu, .n = n, .parts = g.gpu});
  std::vector<LoraUse> uses{g.gpu_uses[0][0], g.gpu_uses[1][0]};
  std::vector<LinearPart> parts = g.gpu;
  const int row = 143;
  for (int i = 0; i < 2; ++i) {
    uses[static_cast<size_t>(i)].end = 1;
    parts[static_cast<size_t>(i)].lora = {&uses[static_cast<size_t>(i)], 1};
  }
  const size_t unit = bytes_of(t.act());
  t.gpu.linear({.y = one.gpu, .ldy = g.width, .x = static_cast<char*>(x.gpu) + unit * static_cast<size_t>(row * in), .n = 1,
                .parts = parts});
  const std::vector<float> a = t.read(t.gpu, static_cast<char*>(all.gpu) + unit * static_cast<size_t>(row * g.width), static_cast<size_t>(g.width), t.act()),
                           b = t.read(t.gpu, one.gpu, static_cast<size_t>(g.width), t.act());
  if (t.gpu.rows_independent()) t.expect("row_alone", a == b);
  t.gpu.linear({.y = all.gpu, .ldy = g.width, .x = x.gpu, .n = n, .parts = g.gpu});  // u of all rows again

  const Buffer dy = t.acts(static_cast<size_t>(n * g.width));
  const std::vector<int32_t> offsets{0, 40, 41, n};
  std::vector<std::vector<float>> results;
  for (const int cut : {3, 1, 2}) {  // examples per call
    Buffer ga = t.from(std::vector<float>(static_cast<size_t>(8 * in), 0.25f), DType::F32), gb = t.from(std::vector<float>(136 * 8, 0.5f), DType::F32);
    for (int e = 0; e < 3; e += cut) {
      const int last = std::min(3, e + cut), first_token = offsets[static_cast<size_t>(e)], count = offsets[static_cast<size_t>(last)] - first_token;
      LoraUse use = g.gpu_uses[0][0];
      use.end = count;
      use.u = static_cast<float*>(use.u) + static_cast<size_t>(first_token) * 8;
      const LinearPart part{g.gpu[0].w, 0, {&use, 1}, g.gpu[0].site};
      const LoraGrad grad{ga.gpu, gb.gpu};
      std::vector<int32_t> local;
      for (int i = e; i <= last; ++i) local.push_back(offsets[static_cast<size_t>(i)] - first_token);
      t.gpu.linear_backward({.dy = static_cast<char*>(dy.gpu) + unit * static_cast<size_t>(first_token * g.width), .ldy = g.width,
                             .x = static_cast<char*>(x.gpu) + unit * static_cast<size_t>(first_token * in), .n = count,
                             .parts = {&part, 1}, .grads = {&grad, 1}, .example_offsets = t.table(local).second, .examples = last - e});
    }
    std::vector<float> both = t.read(t.gpu, ga.gpu, ga.count, DType::F32);
    const std::vector<float> second = t.read(t.gpu, gb.gpu, gb.count, DType::F32);
    both.insert(both.end(), second.begin(), second.end());
    results.push_back(both);
  }
  t.expect("split_batch", results[0] == results[1] && results[0] == results[2]);
}

void head(Twin& t) {
  for (const int V : {97, 320})
    for (const int n : {1, 37}) {
      const int C = 72;
      const Pair w = weight(t, V, C, Bias::None);
      const Buffer x = t.acts(static_cast<size_t>(n * C));
      Buffer logits = t.poisoned(static_cast<size_t>(n * V), DType::F32), dx = t.poisoned_acts(static_cast<size_t>(n * C));
      t.cpu.logits({logits.cpu, x.cpu, w.cpu, n});
      t.gpu.logits({logits.gpu, x.gpu, w.gpu, n});
      const std::string at = "V" + std::to_string(V) + "_n" + std::to_string(n);
      t.compare(at, logits, 1e-5);
      const Buffer d = t.floats(static_cast<size_t>(n * V));
      t.cpu.logits_backward({dx.cpu, d.cpu, w.cpu, nullptr, n});
      t.gpu.logits_backward({dx.gpu, d.gpu, w.gpu, nullptr, n});
      t.compare(at + "_full", dx);
      std::vector<int32_t> labels;
      for (int i = 0; i < n; ++i) labels.insert(labels.end(), {i % V, (i * 5 + 7) % V});
      const auto ids = t.table(labels);
      Buffer dl = t.poisoned_acts(static_cast<size_t>(n * C));
      t.cpu.logits_backward({dl.cpu, d.cpu, w.cpu, ids.first, n});
      t.gpu.logits_backward({dl.gpu, d.gpu, w.gpu, ids.second, n});
      t.compare(at + "_labels", dl);
    }
}

}  // namespace

std::vector<Case> linear_cases() {
  return {{"linear", linear}, {"linear_backward", linear_backward}, {"invariance", invariance}, {"head", head}};
}

}  // namespace twin
