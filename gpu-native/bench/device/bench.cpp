// steerlab_device_bench <shape> [seconds] [details|first|choose]: what one device does with a random-weight model of this shape.
//
// The library is the one that STEERLAB_CUDA_LIBRARY names; lines are those of report.h. A floor is in the result's unit, from the
// two rates measured first; spread is half the range of the middle half as a share of the median; products says what served
// them, and is asserted to be cuBLASLt alone where that was found. Times are wall clock around work that ends with a wait;
// the first run of each kind is not counted. `seconds` bounds each kind. "details" measures single matrix products, a block's adapters and attention and, with
// STEERLAB_CUDA_TIMES=1, a training step op by op instead; "first" the products alone, as cuBLASLt's first answers are to run:
// without the file of timed ones. "choose" does each kind of work once and measures nothing: STEERLAB_CUBLASLT_TIME=1 times algorithms.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>

#include "adapters.h"
#include "attention.h"
#include "loader.h"
#include "memory.h"
#include "memory_estimate.h"
#include "report.h"
#include "shapes.h"
#include "work.h"

namespace {

using namespace steerlab;
using namespace steerlab::bench;

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

constexpr double kProductSeconds = 0.1;  // 32 shapes of products: each is short

struct Timing {
  double median = 0, spread = 0;
};

class Bench {
 public:
  Bench(std::string shape, double seconds, const std::string& mode)
      : shape_(std::move(shape)), seconds_(seconds), details_(mode == "details"), first_(mode == "first"), choose_(mode == "choose"),
        config_(shape_of(shape_)) {}

  void run() {
    backend_ = make_cuda_backend(DType::BF16);
    std::printf("# %s\n", backend_->describe().c_str());
    ceilings();
    if (details_ || first_ || choose_) products();
    if (first_) return;
    if (details_) {
      block();
      sampling(shape_ == "toy" ? 2 : 64);
    }
    backend_.reset();  // with all it holds: memory is to be the model's own from here on
    backend_ = make_cuda_backend(DType::BF16);
    open();
    const bool toy = shape_ == "toy";
    if (details_) {
      ops(toy ? 2 : 8, toy ? 5 : 42, toy ? 4 : 25);
      return;
    }
    if (toy) {
      training(2, 5, 4);
      sweep(1, 2, 5, 4);
      questions(3, 5, 4);
      decode({1, 3}, 5, 4);
    } else {
      training(8, 42, 25);
      training(8, 150, 30);
      sweep(102, 17, 42, 25);
      questions(75, 60, 40);
      decode({1, 8, 64}, 67, 33);
    }
    memory();
  }

 private:
  // Median of repeated runs within the time given, at least 3.
  Timing time(const std::function<void()>& work, double most = 1e9) {
    work();
    if (choose_) return {1, 0};
    std::vector<double> t;
    const double end = now() + std::min(seconds_, most);
    while (t.size() < 3 || (now() < end && t.size() < 50)) {
      const double start = now();
      work();
      t.push_back(now() - start);
    }
    std::sort(t.begin(), t.end());
    const size_t n = t.size();
    return {t[n / 2], (t[n * 3 / 4] - t[n / 4]) / 2 / t[n / 2]};
  }

  void result(const std::string& what, double value, const char* unit, double floor, double spread) {
    if (choose_) return;
    char bound[32] = "-";
    if (floor > 0) std::snprintf(bound, sizeof bound, "%.4g", floor);
    std::printf("result\t%s\t%s\t%.4g\t%s\t%s\t%.3f\t%s\n", shape_.c_str(), what.c_str(), value, unit, bound, spread, served_.c_str());
    std::fflush(stdout);
  }

  // Before the results of one kind of work: which kernels served its products.
  void served(Products& products, const std::string& what) { served_ = products.asserted(shape_ + " " + what); }

  // 20 products queued, one wait: launch gaps hide behind the device's work, as in a step. Backward: dx = dy W.
  // Copies of a weight take turns, so that none is still in the second-level cache: in a step other layers have been there.
  Timing product_time(const std::vector<Weight>& copies, int rows, bool backward) {
    const Weight& w = copies[0];
    const size_t most = static_cast<size_t>(rows) * static_cast<size_t>(std::max(w.in, w.out)) * 2;
    void* y = backend_->allocate(most);
    const Weight x = backend_->random_matrix(rows, backward ? w.out : w.in, 1.0f, 3, 3);
    LinearPart part;
    size_t turn = 0;
    const LoraGrad none;
    const int repeats = shape_ == "toy" ? 2 : 20;
    Timing t = time([&] {
      for (int i = 0; i < repeats; ++i) {
        part.w = &copies[turn++ % copies.size()];
        if (backward)
          backend_->linear_backward({.dx = y, .dy = x.data, .ldy = w.out, .n = rows, .parts = {&part, 1}, .grads = {&none, 1}, .example_offsets = nullptr, .examples = 0});
        else backend_->linear({.y = y, .ldy = w.out, .x = x.data, .n = rows, .parts = {&part, 1}});
      }
      backend_->synchronize();
    }, kProductSeconds);
    t.median /= repeats;
    backend_->release(y);
    backend_->release_weight(x.data);
    return t;
  }

  std::vector<Weight> cold_copies(int out, int in) {
    constexpr size_t kCold = size_t(160) << 20;  // bytes: beyond any second-level cache
    const size_t bytes = size_t{2} * static_cast<size_t>(out) * static_cast<size_t>(in);
    std::vector<Weight> copies(shape_ == "toy" ? 2 : kCold / bytes + 1);
    for (Weight& w : copies) w = backend_->random_matrix(out, in, 0.02f, 1, 2);
    return copies;
  }

  void ceilings() {
    const int side = shape_ == "toy" ? 64 : 8192;
    const Weight square = backend_->random_matrix(side, side, 0.02f, 1, 1);
    Products products(*backend_);
    const Timing t = product_time({square}, side, false);
    served(products, "ceiling");
    top_.flops = 2.0 * side * side * side / t.median;
    backend_->release(const_cast<void*>(square.data));
    result("ceiling: matrix product " + std::to_string(side) + "^3", top_.flops / 1e12, "TFLOP/s", 0, t.spread);
    served_ = "none";
    const size_t bytes = shape_ == "toy" ? 1 << 16 : size_t(2) << 30;
    void *a = backend_->allocate(bytes), *b = backend_->allocate(bytes);
    backend_->zero(a, bytes);
    const Timing c = time([&] {
      backend_->copy(b, a, bytes);
      backend_->synchronize();
    });
    top_.bandwidth = 2.0 * static_cast<double>(bytes) / c.median;
    backend_->release(a);
    backend_->release(b);
    result("ceiling: copy, read + written", top_.bandwidth / 1e12, "TB/s", 0, c.spread);
  }

  void products() {
    const struct {
      const char* name;
      int out, in;
    } shapes[] = {{"qkv", config_.qkv_width(), config_.hidden_size},
                  {"o", config_.hidden_size, config_.query_width()},
                  {"gate_up", 2 * config_.intermediate_size, config_.hidden_size},
                  {"down", config_.hidden_size, config_.intermediate_size}};
    for (const auto& s : shapes) {
      const std::vector<Weight> copies = cold_copies(s.out, s.in);
      for (const bool backward : {false, true})
        for (const int rows : {1, 8, 200, 536}) {
          if (shape_ == "toy" && rows > 8) break;
          Products products(*backend_);
          const Timing t = product_time(copies, rows, backward);
          const std::string what = std::string(first_ ? "first answer, product " : "product ") + s.name + (backward ? " backward " : " ") + std::to_string(rows) + " rows";
          served(products, what);
          const double flops = 2.0 * rows * s.out * s.in, bytes = 2.0 * (static_cast<double>(s.out) * s.in + static_cast<double>(rows) * (s.in + s.out));
          const double floor = std::max(flops / top_.flops, bytes / top_.bandwidth);
          result(what, flops / t.median / 1e12, "TFLOP/s", flops / floor / 1e12, t.spread);
        }
      for (const Weight& w : copies) backend_->release_weight(w.data);
    }
  }

  // Adapters and attention of one block on the matrix units and on the F32 units, by op.
  void block() {
    const bool toy = shape_ == "toy";
    constexpr int kRuns = 5;
    for (const bool matrix_units : {true, false}) {
      const auto b = backend_on(matrix_units);
      std::map<std::string, double> before;
      for (const int runs : {1, kRuns}) {  // the first takes its memory
        before = counts(*b);
        for (const auto& [outs, in] : {std::pair{std::vector<int>{config_.query_width(), config_.kv_width(), config_.kv_width()}, config_.hidden_size},
                                       std::pair{std::vector<int>{config_.hidden_size}, config_.query_width()}})
          adapter_work(*b, outs, in, toy ? 2 : 8, toy ? 5 : 42, toy ? 4 : 25, runs);
        attention_work(*b, {config_.num_attention_heads, config_.num_key_value_heads, config_.head_dim}, toy ? 2 : 8, toy ? 5 : 42, toy ? 4 : 25, runs);
      }
      auto after = counts(*b);
      for (const char* op : {"lora", "lora_backward", "lora_dx", "attention", "attention_backward"})
        if (after.count(std::string("time.") + op))
          time_line(std::string("a block, ") + (matrix_units ? "matrix units" : "F32 units"), op,
                    (after[std::string("time.") + op] - before[std::string("time.") + op]) / 1e3 / kRuns, (after[op] - before[op]) / kRuns);
    }
  }

  void sampling(int rows) {
    const int V = config_.vocab_size;
    const std::vector<double> numbers = some_numbers(static_cast<int64_t>(rows) * V, 3);
    const std::vector<float> logits(numbers.begin(), numbers.end());
    void* device = backend_->allocate(sizeof(float) * logits.size());
    backend_->upload(device, logits.data(), sizeof(float) * logits.size());
    const std::vector<SampleRow> keys(static_cast<size_t>(rows), SampleRow{7, 1});
    std::vector<int32_t> tokens(static_cast<size_t>(rows));
    served_ = "none";
    for (const float temperature : {0.0f, 0.7f})
      for (const int n : {1, rows}) {
        const Timing t = time([&] {
          backend_->sample({.tokens = {tokens.data(), n}, .logits = device, .n = n, .V = V, .temperature = temperature, .top_p = 0.95f,
                            .rows = {keys.data(), n}});
        }, kProductSeconds);
        result("sampling " + std::to_string(n) + (temperature > 0 ? " rows, top 0.95" : " rows, greedy"), t.median * 1e3, "ms", 0, t.spread);
      }
    backend_->release(device);
  }

  void time_line(const std::string& work, const std::string& op, double milliseconds, double calls) {
    std::printf("time\t%s\t%s\t%s\t%.3f\t%.0f\n", shape_.c_str(), work.c_str(), op.c_str(), milliseconds, calls);
  }

  void open() {
    served_ = "none";
    const double start = now();
    model_ = std::make_shared<Model>(backend_, config_, nullptr, 7, job_);
    backend_->synchronize();
    result("random weights on the device", now() - start, "s", 0, 0);
  }

  void training(int examples, int context, int question) {
    WorkShape w;
    w.rows = examples;
    w.context_tokens = context;
    w.question_tokens = question;
    w.lora_rank = 16;
    w.training = true;
    const MemoryEstimate e = estimate_memory(config_, w, DType::BF16, DType::BF16, true);
    std::printf("# estimated memory, %d x (%d + %d)\n%s", examples, context, question, describe_estimate(e).c_str());
    const TrainerOptions options = card_options();
    const FlatLayout layout = flat_layout(config_, options.r, options.targets);
    Trainer trainer(model_, options, some_numbers(layout.count, 0.01));
    const TrainBatch batch = train_batch(config_, examples, context, question);
    int64_t step = 0;
    Products products(*backend_);
    const Timing timing = time([&] { trainer.step(batch, ++step, 1e-5, job_); });
    const double forward = static_cast<double>(examples) * (context + question), backward = static_cast<double>(examples) * question;
    const double floor = floor_seconds(config_, top_, forward, examples) + floor_seconds(config_, top_, backward, 0);
    const std::string at = " " + std::to_string(context) + "+" + std::to_string(question) + " batch " + std::to_string(examples);
    served(products, "training" + at);
    result("training step" + at, timing.median * 1e3, "ms", floor * 1e3, timing.spread);
    result("training" + at, examples / timing.median, "examples/s", examples / floor, timing.spread);
    // the estimate stands in the column of the floor
    result("memory after training" + at, memory("memory.device"), "GB", static_cast<double>(e.total()) / 1e9, 0);
  }

  // Contexts of `concepts` concepts, `at_once` to a call; one call is measured and stands for all.
  void sweep(int concepts, int at_once, int context, int question) {
    for (const bool share : {true, false}) {
      const ForwardRequest request = sweep_request(config_, at_once, context, question, share);
      const int calls = (concepts + at_once - 1) / at_once;
      double computed = 0, shared = 0;
      Products products(*backend_);
      const Timing t = time([&] {
        const ForwardResult r = model_->forward(request, job_);
        computed = r.token_layers;
        shared = r.shared_token_layers;
      });
      const double rows = at_once * 12.0, whole = rows * (context + question);
      const double tokens = share ? whole * computed / (computed + shared) : whole;
      const double floor = floor_seconds(config_, top_, tokens, rows);
      served(products, share ? "shared sweep" : "unshared sweep");
      result("sweep of " + std::to_string(calls) + " x " + std::to_string(at_once * 12) + " rows, " + (share ? "shared" : "unshared"), t.median * calls, "s", floor * calls, t.spread);
    }
  }

  void questions(int count, int context, int length) {
    const ForwardResult kept = model_->forward(context_request(config_, context), job_);
    const ForwardRequest request = questions_request(config_, kept.caches[0], count, length);
    Products products(*backend_);
    const Timing t = time([&] { model_->forward(request, job_); });
    served(products, "questions");
    result(std::to_string(count) + " questions on one cache", t.median * 1e3, "ms",
           floor_seconds(config_, top_, static_cast<double>(count) * length, count) * 1e3, t.spread);
  }

  void decode(const std::vector<int>& rows, int prompt, int tokens) {
    for (const int b : rows) {
      const GenerateRequest one = decode_request(config_, b, prompt, 1), many = decode_request(config_, b, prompt, tokens);
      Products products(*backend_);
      const Timing first = time([&] { model_->generate(one, job_); }), all = time([&] { model_->generate(many, job_); });
      const double per = (all.median - first.median) / (tokens - 1);
      const double floor = floor_seconds(config_, top_, b, b);
      served(products, "decode, batch " + std::to_string(b));
      result("decode, batch " + std::to_string(b), b / per, "tokens/s", b / floor, all.spread);
    }
  }

  // Device time of one training step by op. An op that calls another holds its time: linear = product + lora + the rest.
  void ops(int examples, int context, int question) {
    const TrainerOptions options = card_options();
    Trainer trainer(model_, options, some_numbers(flat_layout(config_, options.r, options.targets).count, 0.01));
    const TrainBatch batch = train_batch(config_, examples, context, question);
    constexpr int kSteps = 4;
    int64_t step = 0;
    trainer.step(batch, ++step, 1e-5, job_);
    const auto before = counts(*backend_);
    const double start = now();
    for (int i = 0; i < kSteps; ++i) trainer.step(batch, ++step, 1e-5, job_);
    const double wall = (now() - start) / kSteps;
    const std::string at = "training " + std::to_string(context) + "+" + std::to_string(question) + " batch " + std::to_string(examples);
    const auto line = [&](const std::string& op, double milliseconds, double calls) { time_line(at, op, milliseconds, calls); };
    bool any = false;
    for (const auto& [name, total] : counts(*backend_)) {
      if (name.rfind("time.", 0) != 0) continue;
      const std::string op = name.substr(5);
      const auto since = [&](const std::string& key, double value) {
        const auto found = before.find(key);
        return (value - (found == before.end() ? 0 : found->second)) / kSteps;
      };
      line(op, since(name, total) / 1e3, since(op, counts(*backend_).at(op)));
      any = true;
    }
    line("whole step, wall clock", wall * 1e3, 1);
    line("uploads", 0, (counts(*backend_)["upload"] - before.at("upload")) / kSteps);
    if (!any) std::printf("skipped\ttimes by op of %s\tSTEERLAB_CUDA_TIMES=1 is not set\n", shape_.c_str());
    std::fflush(stdout);
  }

  double memory(const std::string& name) {
    const auto counted = counts(*backend_);
    const auto at = counted.find(name);
    return at == counted.end() ? 0 : at->second / 1e9;
  }
  // The pool keeps what it once took, so what the driver counts at the end is the peak.
  void memory() {
    if (choose_) std::printf("# %s\n", backend_->describe().c_str());
    result("peak device memory, driver's count", memory("memory.device"), "GB", 0, 0);
    result("peak device memory, weights and pool", memory("memory.peak"), "GB", 0, 0);
  }

  std::string shape_;
  double seconds_;
  bool details_, first_, choose_;
  std::string served_ = "none";
  ModelConfig config_;
  std::shared_ptr<Backend> backend_;
  std::shared_ptr<Model> model_;
  Ceiling top_;
  Job job_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::printf("usage: steerlab_device_bench <32B|7B|0.5B|toy> [seconds per measurement] [details|first|choose]\n");
    return 2;
  }
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  try {
    Bench(argv[1], argc > 2 ? std::strtod(argv[2], nullptr) : 3.0, argc > 3 ? argv[3] : "").run();
  } catch (const std::exception& e) {
    std::printf("failed\t%s\t%s\n", argv[1], e.what());
    return 1;
  }
  return failures ? 1 : 0;
}
