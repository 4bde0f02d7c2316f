// steerlab_device_check <shape> <found|block|products|step>: is the CUDA library right at model size? (See report.h for its lines.)
//
// found: what this machine gives. block: the adapters of its q, k, v and o and its attention, on the matrix units against the F32 units.
// products: the four matrices of a block x {1, 8, 200, 536} rows x both directions, cuBLASLt against our own mma.sync kernels, which the
// op tests hold against plain loops at small shapes. step: a whole training step on random weights, twice for equal bytes, by cuBLASLt
// against own products. Status 1 when a check failed, 3 where there is nothing to compare. STEERLAB_CUDA_LIBRARY names the library.
#include <cstdlib>

#include "adapters.h"
#include "attention.h"
#include "loader.h"
#include "memory.h"
#include "report.h"
#include "shapes.h"
#include "work.h"

namespace {

using namespace steerlab;
using namespace steerlab::bench;

// A backend with own products (true), or with cuBLASLt where it is found.
std::shared_ptr<Backend> make(bool own) {
  static const char* const told = std::getenv("STEERLAB_CUBLASLT");
  static const std::string chosen = told ? told : "";
  setenv("STEERLAB_CUBLASLT", own ? "own" : chosen.c_str(), 1);
  return make_cuda_backend(DType::BF16);
}

int report_found() {
  const CudaStatus status = probe_cuda();
  found("device", status.device + ", driver for CUDA " + status.driver + ", runtime " + status.runtime);
  const auto backend = make(false);
  found("backend", backend->describe());
  const auto counted = counts(*backend);
  found("address space for weights", std::to_string(static_cast<int64_t>(counted.at("memory.address_space")) >> 30) + " GiB of a card of " +
                                         std::to_string(status.memory_bytes >> 30) + " GiB");
  return 0;
}

// y = x W^T (n, out), or dx = dy W (n, in), on random numbers that depend on the seed alone.
std::vector<float> product(Backend& b, const Weight& w, int rows, bool backward) {
  const int from = backward ? w.out : w.in, to = backward ? w.in : w.out;
  const size_t outputs = static_cast<size_t>(rows) * static_cast<size_t>(to);
  const Weight x = b.random_matrix(rows, from, 1.0f, 3, 3);
  void* y = b.allocate(2 * outputs);
  const std::vector<uint16_t> poison(outputs, 0xffff);
  b.upload(y, poison.data(), 2 * outputs);
  LinearPart part;
  part.w = &w;
  const LoraGrad none;
  if (backward)
    b.linear_backward({.dx = y, .dy = x.data, .ldy = w.out, .n = rows, .parts = {&part, 1}, .grads = {&none, 1}, .example_offsets = nullptr, .examples = 0});
  else b.linear({.y = y, .ldy = w.out, .x = x.data, .n = rows, .parts = {&part, 1}});
  std::vector<float> out = read_halves(b, y, outputs);
  b.release(y);
  b.release_weight(x.data);
  return out;
}

int check_products(const ModelConfig& c, const std::string& shape) {
  const auto own = make(true), library = make(false);
  if (!has_library(*library)) {
    std::printf("skipped\tproducts of %s\t%s\n", shape.c_str(), library->describe().c_str());
    return 3;
  }
  const struct {
    const char* name;
    int out, in;
  } shapes[] = {{"qkv", c.qkv_width(), c.hidden_size},
                {"o", c.hidden_size, c.query_width()},
                {"gate_up", 2 * c.intermediate_size, c.hidden_size},
                {"down", c.hidden_size, c.intermediate_size}};
  Products used(*library);
  for (const auto& s : shapes) {
    const Weight a = own->random_matrix(s.out, s.in, 0.02f, 1, 2), b = library->random_matrix(s.out, s.in, 0.02f, 1, 2);
    for (const bool backward : {false, true})
      for (const int rows : {1, 8, 200, 536}) {
        if (shape == "toy" && rows > 8) break;
        // both round one F32 sum to bf16 and may fall on either side; a lost tail of the depth is ten times more
        const std::string what = std::string("product ") + s.name + (backward ? " backward " : " ") + std::to_string(rows) + " rows";
        note(what, distance(product(*library, b, rows, backward), product(*own, a, rows, backward)), 2e-3);
      }
    own->release_weight(a.data);
    library->release_weight(b.data);
  }
  used.asserted("the products of " + shape);
  return failures ? 1 : 0;
}

int check_block(const ModelConfig& c, const std::string& shape) {
  const bool toy = shape == "toy";
  const auto fast = backend_on(true), plain = backend_on(false);
  const struct {
    const char* name;
    std::vector<int> outs;
    int in;
  } groups[] = {{"qkv", {c.query_width(), c.kv_width(), c.kv_width()}, c.hidden_size}, {"o", {c.hidden_size}, c.query_width()}};
  for (const auto& g : groups) {
    const auto work = [&](Backend& b) { return adapter_work(b, g.outs, g.in, toy ? 2 : 8, toy ? 5 : 42, toy ? 4 : 25, 1); };
    const AdapterWork got = work(*fast), want = work(*plain);
    const std::string what = std::string("adapters of ") + g.name + ", matrix units against F32 units: ";
    note(what + "u", distance(got.u, want.u), 1e-5);
    note(what + "y", distance(got.y, want.y), 2e-3);
    note(what + "gradients", distance(got.gradients, want.gradients), 2e-5);
    note(what + "dx", distance(got.dx, want.dx), 2e-3);
  }
  const auto attention = [&](Backend& b) {
    return attention_work(b, {c.num_attention_heads, c.num_key_value_heads, c.head_dim}, toy ? 2 : 8, toy ? 5 : 42, toy ? 4 : 25, 1);
  };
  const AttentionWork got = attention(*fast), want = attention(*plain);
  note("attention, matrix units against F32 units: out", distance(got.out, want.out), 2e-3);
  note("attention, matrix units against F32 units: gradients", distance(got.dqkv, want.dqkv), 2e-3);
  for (const char* op : {"lora", "lora_backward", "attention", "attention_backward"}) {
    const std::string served = std::string(op) + ".mma";
    expect(std::string(op) + " ran on the matrix units, and on the F32 units when asked", counts(*fast)[served] > 0 && counts(*plain)[served] == 0);
  }
  return failures ? 1 : 0;
}

struct Step {
  BatchResult result;
  double norm = NAN;
};

Step one_step(const ModelConfig& c, const std::string& shape, bool own) {
  const auto backend = make(own);
  const auto model = std::make_shared<Model>(backend, c, nullptr, 7, Job{});
  const TrainerOptions options = card_options();
  const FlatLayout layout = flat_layout(c, options.r, options.targets);
  Trainer trainer(model, options, some_numbers(layout.count, 0.01));
  const bool toy = shape == "toy";
  const TrainBatch batch = train_batch(c, toy ? 2 : 8, toy ? 6 : 42, toy ? 4 : 25);
  Products used(*backend);
  Step step;
  step.result = trainer.gradients(batch, 1, Job{});
  const std::string at = shape + (own ? " step, own products" : " step");
  const BatchResult again = trainer.gradients(batch, 1, Job{});
  expect(at + ": the same bytes twice", again.gradients == step.result.gradients && again.logprob == step.result.logprob);
  step.norm = trainer.step(batch, 1, 1e-4, Job{}).grad_norm;
  expect(at + ": a finite gradient that is not zero", std::isfinite(step.norm) && step.norm > 0);
  const BatchResult after = trainer.evaluate(batch, Job{});
  double before = 0, now = 0;
  for (const double v : step.result.loss) before += v;
  for (const double v : after.loss) now += v;
  expect(at + ": the loss moves", std::isfinite(now) && now != before);
  used.asserted(at);
  if (has_library(*backend)) expect(at + ": biases are added in cuBLASLt's epilogue", counts(*backend)["gemm.bias"] > 0);
  return step;
}

int check_step(const ModelConfig& c, const std::string& shape) {
  const Step library = one_step(c, shape, false);
  if (!has_library(*make(false))) return failures ? 1 : 0;
  const Step own = one_step(c, shape, true);
  note(shape + " step, cuBLASLt against own products: log-probabilities", distance(library.result.logprob, own.result.logprob), 2e-2);
  // two orders of summation round bf16 apart, and 64 random layers amplify it: the direction holds better than the digits
  note(shape + " step, cuBLASLt against own products: gradients", distance(library.result.gradients, own.result.gradients), 0.15);
  note(shape + " step, cuBLASLt against own products: 1 - cosine of gradients", 1 - cosine(library.result.gradients, own.result.gradients), 0.02);
  note(shape + " step, cuBLASLt against own products: gradient norm", std::abs(library.norm - own.norm) / own.norm, 0.1);
  return failures ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const std::string shape = argc > 1 ? argv[1] : "", what = argc > 2 ? argv[2] : "";
  try {
    if (what == "starts") return 0;  // this machine can run what another one built
    if (what == "found") return report_found();
    if (what == "block") return check_block(shape_of(shape), shape);
    if (what == "products") return check_products(shape_of(shape), shape);
    if (what == "step") return check_step(shape_of(shape), shape);
  } catch (const std::exception& e) {
    std::printf("FAIL %s %s threw %s\n", shape.c_str(), what.c_str(), e.what());
    return 1;
  }
  std::printf("usage: steerlab_device_check <32B|7B|0.5B|toy> <found|block|products|step|starts>\n");
  return 2;
}
