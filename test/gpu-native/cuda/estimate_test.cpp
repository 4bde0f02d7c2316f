// Memory estimates against numbers worked out by hand, and against the laws they must obey. One line per check.
#include <cstdio>

#include "../../../gpu-native/bench/device/shapes.h"
#include "memory_estimate.h"

using namespace steerlab;

namespace {

int failures = 0;
void expect(const char* what, bool ok) {
  std::printf("%s %s\n", ok ? "ok  " : "FAIL", what);
  failures += !ok;
}

bool near(double got, double want, double share) { return got > want * (1 - share) && got < want * (1 + share); }

}  // namespace

int main() {
  const ModelConfig big = bench::shape_of("32B"), small = bench::shape_of("0.5B");
  WorkShape card;
  card.rows = 8;
  card.context_tokens = 42;
  card.question_tokens = 25;
  card.lora_rank = 16;
  card.training = true;
  const MemoryEstimate e = estimate_memory(big, card, DType::BF16, DType::BF16, true);
  std::printf("# 32B, 8 x (42 + 25), rank 16\n%s", describe_estimate(e).c_str());
  expect("32B weights are 65.5 GB", near(static_cast<double>(e.weights), 65.5e9, 0.005));
  expect("33.55 M adapter numbers, four F32 copies", e.adapters == size_t(33554432) * 16);
  // per question token and layer: 4 x 5120 + 7168 + 5120 + 3 x 27648 bf16 numbers, 7 x 16 + 40 F32 = 232,032 bytes
  expect("saved activations of 200 question tokens are about 3 GB", near(static_cast<double>(e.activations), 64 * 200 * 232032.0, 0.06));
  expect("keys and values of 536 tokens are 141 MB", e.kv == size_t(536) * 64 * 2 * 1024 * 2);
  expect("the card's recipe fits 80 GB", static_cast<double>(e.total()) <= 80e9);
  card.context_tokens = 300;
  card.question_tokens = 30;
  expect("and so does 300 + 30", static_cast<double>(estimate_memory(big, card, DType::BF16, DType::BF16, true).total()) <= 80e9);
  card.question_tokens = 1500;
  expect("1500 question tokens in one micro-batch of 8 do not", static_cast<double>(estimate_memory(big, card, DType::BF16, DType::BF16, true).total()) > 80e9);

  WorkShape ask;
  ask.rows = 75;
  ask.question_tokens = 40;
  ask.kept_tokens = 60;
  const MemoryEstimate shared = estimate_memory(small, ask, DType::BF16, DType::BF16, true);
  expect("0.5B weights are 0.99 GB", near(static_cast<double>(shared.weights), 0.99e9, 0.05));
  expect("no adapter, no adapter memory", shared.adapters == 0);
  ask.rows = 150;
  const MemoryEstimate twice = estimate_memory(small, ask, DType::BF16, DType::BF16, true);
  expect("twice the rows, twice the activations", twice.activations == 2 * shared.activations && twice.weights == shared.weights);
  const MemoryEstimate host = estimate_memory(small, ask, DType::F32, DType::BF16, false);
  expect("the host has no driver context", host.context == 0 && host.activations == 2 * twice.activations);
  ask.context_tokens = 50;
  ask.shared_context = true;
  const size_t one = estimate_memory(small, ask, DType::BF16, DType::BF16, true).activations;
  ask.shared_context = false;
  expect("a shared context is counted once", one < estimate_memory(small, ask, DType::BF16, DType::BF16, true).activations);
  return failures ? 1 : 0;
}
