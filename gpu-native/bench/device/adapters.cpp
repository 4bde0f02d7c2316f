#include "adapters.h"

#include "memory.h"

namespace steerlab::bench {

constexpr int kRank = 16;

AdapterWork adapter_work(Backend& b, const std::vector<int>& outs, int in, int examples, int context, int question, int repeats) {
  const int tail = examples * question, n = examples * (context + question), row0 = n - tail, parts_count = static_cast<int>(outs.size());
  Memory memory(b);
  std::vector<Weight> weights(outs.size());
  std::vector<LinearPart> parts(outs.size());
  std::vector<LoraUse> uses(outs.size()), tail_uses(outs.size());
  std::vector<LoraGrad> grads(outs.size());
  int width = 0;
  for (size_t i = 0; i < outs.size(); ++i) {
    weights[i] = b.random_matrix(outs[i], in, 0.02f, 1, static_cast<uint32_t>(i));
    const size_t a = static_cast<size_t>(kRank) * in, bb = static_cast<size_t>(outs[i]) * kRank;
    uses[i] = {0, n, kRank, 2, 0.05f, memory.numbers(a, 0.02), memory.numbers(bb, 0.02), memory.take(sizeof(float) * n * kRank)};
    tail_uses[i] = uses[i];
    tail_uses[i].end = tail;
    tail_uses[i].u = static_cast<float*>(uses[i].u) + static_cast<size_t>(row0) * kRank;
    parts[i] = {&weights[i], width, {&uses[i], 1}, static_cast<uint32_t>(i)};
    grads[i] = {memory.take(sizeof(float) * a), memory.take(sizeof(float) * bb)};
    width += outs[i];
  }
  std::vector<int32_t> example, position, offsets;
  for (int t = 0; t < n; ++t) {
    example.push_back(t < row0 ? t / context : (t - row0) / question);
    position.push_back(t < row0 ? t % context : context + (t - row0) % question);
  }
  for (int x = 0; x <= examples; ++x) offsets.push_back(x * question);
  DropoutKey key{9, 1, memory.table(example), memory.table(position)}, tail_key = key;
  tail_key.token_example += row0;
  tail_key.token_position += row0;
  const void *x = memory.halves(n, in, 3), *dy = memory.halves(tail, width, 4);
  void *y = memory.take(size_t{2} * n * width), *dx = memory.take(size_t{2} * tail * in);
  const int32_t* device_offsets = memory.table(offsets);

  for (int run = 0; run < repeats; ++run) {
    for (size_t i = 0; i < outs.size(); ++i) {
      parts[i].lora = {&uses[i], 1};
      b.zero(grads[i].a, sizeof(float) * kRank * static_cast<size_t>(in));
      b.zero(grads[i].b, sizeof(float) * kRank * static_cast<size_t>(outs[i]));
    }
    b.linear({.y = y, .ldy = width, .x = x, .n = n, .parts = parts, .dropout = &key});
    for (size_t i = 0; i < outs.size(); ++i) parts[i].lora = {&tail_uses[i], 1};
    b.linear_backward({.dx = dx, .dy = dy, .ldy = width, .x = static_cast<const uint16_t*>(x) + static_cast<size_t>(row0) * in, .n = tail,
                       .parts = {parts.data(), parts_count}, .grads = {grads.data(), parts_count}, .dropout = &tail_key,
                       .example_offsets = device_offsets, .examples = examples});
  }
  AdapterWork out{read_floats(b, uses[0].u, static_cast<size_t>(n) * kRank), read_halves(b, y, static_cast<size_t>(n) * width),
                  read_halves(b, dx, static_cast<size_t>(tail) * in), {}};
  for (size_t i = 0; i < outs.size(); ++i)
    for (const auto& [data, count] : {std::pair{grads[i].a, in}, std::pair{grads[i].b, outs[i]}}) {
      const std::vector<float> part = read_floats(b, data, static_cast<size_t>(count) * kRank);
      out.gradients.insert(out.gradients.end(), part.begin(), part.end());
    }
  for (const Weight& w : weights) b.release_weight(w.data);
  return out;
}

}  // namespace steerlab::bench
