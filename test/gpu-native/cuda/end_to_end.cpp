// steerlab_cuda_end_to_end [bf16|f32|both]: a toy model on the CUDA library (STEERLAB_CUDA_LIBRARY) against the plain CPU backend.
//
// The same checkpoint file on both: steered forward with adapters and shared layers, captures, caches, twelve AdamW steps with
// dropout, generation; and on the CUDA side the laws that hold bit for bit. One line per check; status 1 when any failed, 2
// when the library or its device cannot be used.
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "../../../gpu-native/bench/device/shapes.h"
#include "../../../gpu-native/bench/device/work.h"
#include "cpu/plain.h"
#include "loader.h"
#include "memory_estimate.h"

namespace {

using namespace steerlab;
using namespace steerlab::bench;

int failures = 0;
void note(const std::string& what, double error, double allowed) {
  const bool ok = error <= allowed;
  failures += !ok;
  std::printf("%s %s error %.2e allowed %.2e\n", ok ? "ok  " : "FAIL", what.c_str(), error, allowed);
}
void expect(const std::string& what, bool ok) { note(what, ok ? 0 : 1, 0.5); }

template <class S>
double distance(const std::vector<S>& got, const std::vector<S>& want) {
  if (got.size() != want.size() || want.empty()) return NAN;
  double difference = 0, norm = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    difference += std::pow(static_cast<double>(got[i]) - want[i], 2);
    norm += std::pow(static_cast<double>(want[i]), 2);
  }
  return std::sqrt(difference / norm);
}

// Half precision bits of small numbers, exact: the file mixes bf16, f16 and f32 so that every load path is taken.
uint16_t half_bits(float v) {
  uint32_t u;
  std::memcpy(&u, &v, 4);
  const int exponent = static_cast<int>((u >> 23) & 255) - 112;
  const uint16_t sign = static_cast<uint16_t>((u >> 16) & 0x8000u);
  if (exponent <= 0) return sign;
  return static_cast<uint16_t>(sign | (exponent << 10) | ((u >> 13) & 1023u));
}

class Checkpoint {
 public:
  explicit Checkpoint(const ModelConfig& c) : path_((std::filesystem::temp_directory_path() / ("steerlab-end-to-end-" + std::to_string(getpid()) + ".bin")).string()), tokens_(77) {
    add("model.embed_tokens.weight", {c.vocab_size, c.hidden_size}, 0, 0.5f);
    for (int l = 0; l < c.num_hidden_layers; ++l) {
      add(layer_prefix(l) + "input_layernorm.weight", {c.hidden_size}, 1, 0.1f);
      add(layer_prefix(l) + "post_attention_layernorm.weight", {c.hidden_size}, 1, 0.1f);
      for (int p = 0; p < kProjections; ++p) {
        add(projection_path(l, p) + ".weight", {projection_out(c, p), projection_in(c, p)}, 0, 0.1f);
        if (p <= kV) add(projection_path(l, p) + ".bias", {projection_out(c, p)}, 0, 0.2f);
      }
    }
    add("model.norm.weight", {c.hidden_size}, 1, 0.1f);
    if (!c.tie_word_embeddings) add("lm_head.weight", {c.vocab_size, c.hidden_size}, 0, 0.1f);
    std::ofstream(path_, std::ios::binary).write(bytes_.data(), static_cast<std::streamsize>(bytes_.size()));
  }
  ~Checkpoint() { std::remove(path_.c_str()); }
  const std::vector<TensorLocation>& tensors() const { return tensors_; }

 private:
  void add(const std::string& name, const std::vector<int64_t>& shape, float mean, float std) {
    const DType type = std::vector<DType>{DType::BF16, DType::F32, DType::F16}[tensors_.size() % 3];
    int64_t count = 1;
    for (const int64_t d : shape) count *= d;
    const size_t at = bytes_.size();
    for (int64_t i = 0; i < count; ++i) {
      const float v = mean + std * tokens_.normal();
      const Bf16 b = to_bf16(v);
      const uint16_t h = half_bits(v);
      const char* from = type == DType::F32 ? reinterpret_cast<const char*>(&v) : type == DType::BF16 ? reinterpret_cast<const char*>(&b) : reinterpret_cast<const char*>(&h);
      bytes_.insert(bytes_.end(), from, from + bytes_of(type));
    }
    TensorLocation t;
    t.name = name;
    t.file = path_;
    t.dtype = type;
    t.shape = shape;
    t.byte_offset = static_cast<int64_t>(at);
    t.byte_length = static_cast<int64_t>(bytes_.size() - at);
    tensors_.push_back(t);
  }
  std::string path_;
  Tokens tokens_;
  std::vector<char> bytes_;
  std::vector<TensorLocation> tensors_;
};

struct Side {
  std::shared_ptr<Model> model;
  std::shared_ptr<Adapter> adapter;
};

Side open_side(std::shared_ptr<Backend> backend, const ModelConfig& c, const Checkpoint& checkpoint) {
  Side side;
  side.model = std::make_shared<Model>(std::move(backend), c, &checkpoint.tensors(), 0, Job{});
  Tokens t(5);
  std::vector<AdapterPart> parts;
  for (int l = 0; l < c.num_hidden_layers; ++l)
    for (const int p : {kQ, kV, kDown}) {
      AdapterPart part{l, p, 3, 0.5f, {}, {}};
      for (int i = 0; i < 3 * projection_in(c, p); ++i) part.a.push_back(0.1f * t.normal());
      for (int i = 0; i < 3 * projection_out(c, p); ++i) part.b.push_back(0.1f * t.normal());
      parts.push_back(part);
    }
  side.adapter = upload_adapter(side.model->memory(), c, parts);
  return side;
}

ForwardRequest rich_request(const Side& side, bool share) {
  const ModelConfig& c = side.model->config();
  ForwardRequest q = sweep_request(c, 1, 9, 5, share);
  const int rows = q.rows();
  q.adapters = {side.adapter};
  for (int r = 0; r < rows; ++r) q.row_adapter[static_cast<size_t>(r)] = r % (rows / 2) < 6 ? 0 : -1;
  for (float& m : q.steering.magnitude) m *= 0.1f;
  q.report.full = true;
  q.report.top_k = 4;
  q.capture = {true, {0, rows - 1}, {0, c.num_hidden_layers - 1}, true};
  q.keep_cache[static_cast<size_t>(rows - 1)] = 1;
  return q;
}

void check_forward(const std::string& type, Side& cpu, Side& gpu, bool half) {
  const Job job;
  const ForwardResult want = cpu.model->forward(rich_request(cpu, true), job), got = gpu.model->forward(rich_request(gpu, true), job);
  note(type + "/forward_logprobs", distance(got.all, want.all), half ? 2e-2 : 1e-4);
  note(type + "/forward_captures", distance(got.captures, want.captures), half ? 2e-2 : 1e-4);
  note(type + "/forward_chosen", distance(got.logprobs, want.logprobs), half ? 2e-2 : 1e-4);
  if (!half) expect(type + "/forward_top", got.top_ids == want.top_ids);
  expect(type + "/forward_shared_work", got.shared_token_layers == want.shared_token_layers && got.shared_token_layers > 0);
  const ForwardResult alone = gpu.model->forward(rich_request(gpu, false), job), again = gpu.model->forward(rich_request(gpu, true), job);
  expect(type + "/forward_same_bytes", again.all == got.all && again.captures == got.captures);
  if (gpu.model->backend().rows_independent())
    expect(type + "/forward_sharing_changes_nothing", alone.all == got.all);
  else
    note(type + "/forward_sharing_changes_little", distance(alone.all, got.all), 2e-2);
  const ForwardRequest asked_cpu = questions_request(cpu.model->config(), want.caches.back(), 7, 4), asked_gpu = questions_request(gpu.model->config(), got.caches.back(), 7, 4);
  note(type + "/cache_questions", distance(gpu.model->forward(asked_gpu, job).logprobs, cpu.model->forward(asked_cpu, job).logprobs), half ? 2e-2 : 1e-4);
}

double cosine(const std::vector<double>& a, const std::vector<double>& b) {
  double ab = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    ab += a[i] * b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
  }
  return ab / std::sqrt(aa * bb);
}

void check_training(const std::string& type, Side& cpu, Side& gpu, bool half) {
  const Job job;
  const ModelConfig& c = cpu.model->config();
  for (const float mass : {0.0f, 0.3f}) {  // with 0.3, every second example is matched with the base
    TrainerOptions options = card_options();
    options.r = 4;
    options.dropout = 0.2f;
    options.mass_weight = mass;
    if (mass > 0) options.targets = {kQ, kK, kV, kO, kGate, kUp, kDown};
    const FlatLayout layout = flat_layout(c, options.r, options.targets);
    Tokens t(3);
    std::vector<double> initial(static_cast<size_t>(layout.count));
    for (double& v : initial) v = 0.1 * t.normal();
    TrainBatch batch = train_batch(c, 4, 6, 3);
    if (mass > 0) batch.match_positions = {0, 3, 0, 1};
    batch.weights = {1, 0.5, 2, 1};
    Trainer a(cpu.model, options, initial), b(gpu.model, options, initial), b2(gpu.model, options, initial),
        b3(gpu.model, options, initial);
    const BatchResult ga = a.gradients(batch, 1, job), gb = b.gradients(batch, 1, job);
    const std::string at = type + "/training" + (mass > 0 ? "_mass" : "");
    // the pair loss of a confident example is a small difference of large logits: in bf16 only log-probabilities compare
    if (!half) note(at + "_loss", distance(gb.loss, ga.loss), 1e-5);
    const auto labelled = [](std::vector<double> values) {  // a match example has none
      values.erase(std::remove_if(values.begin(), values.end(), [](double v) { return std::isnan(v); }), values.end());
      return values;
    };
    note(at + "_logprob", distance(labelled(gb.logprob), labelled(ga.logprob)), half ? 2e-2 : 1e-5);
    if (mass > 0) note(at + "_divergence", std::abs(gb.loss[1] - ga.loss[1]) / ga.loss[1], half ? 0.2 : 1e-4);
    note(at + "_gradients", distance(gb.gradients, ga.gradients), half ? 3e-2 : 1e-4);
    note(at + "_gradients_angle", 1 - cosine(gb.gradients, ga.gradients), half ? 1e-3 : 1e-8);
    TrainBatch split = batch;
    split.micro_batch = 2;
    std::vector<double> norms_a, norms_b;  // in bf16 a single one of them is a matter of luck after some steps
    for (int step = 1; step <= 12; ++step) {
      const BatchResult ra = a.step(batch, step, 1e-3, job), rb = b.step(batch, step, 1e-3, job);
      norms_a.push_back(ra.grad_norm);
      norms_b.push_back(rb.grad_norm);
      if (step > 2) continue;  // two steps show whether bytes repeat
      b2.step(split, step, 1e-3, job);
      b3.step(batch, step, 1e-3, job);
      if (step < 2) continue;
      const Trainer::State once = b.state(), cut = b2.state(), again = b3.state();
      if (gpu.model->backend().rows_independent()) expect(at + "_split_batch_same_bytes", once.params == cut.params && once.v == cut.v);
      expect(at + "_repeated_same_bytes", once.params == again.params && once.m == again.m);
    }
    note(at + "_norms_of_12_steps", distance(norms_b, norms_a), half ? 0.1 : 1e-3);
    // compared by what twelve steps changed
    std::vector<double> da = a.state().params, db = b.state().params;
    for (size_t i = 0; i < da.size(); ++i) {
      da[i] -= initial[i];
      db[i] -= initial[i];
    }
    note(at + "_change_of_12_steps", distance(db, da), half ? 0.2 : 2e-2);
  }
}

double counted(Backend& backend, const std::string& name) {
  const std::string counters = "\n" + backend.counters(), key = "\n" + name + "=";
  const size_t at = counters.find(key);
  return at == std::string::npos ? NAN : std::strtod(counters.c_str() + at + key.size(), nullptr);
}

// Stops in the backward pass, when the losses are on their way to a vector that the exception takes away.
void check_cancel(const std::string& type, Side& gpu) {
  const ModelConfig& c = gpu.model->config();
  const TrainerOptions options = card_options();
  const std::vector<double> initial(static_cast<size_t>(flat_layout(c, options.r, options.targets).count), 0.01);
  Trainer trainer(gpu.model, options, initial), calm(gpu.model, options, initial);
  const TrainBatch batch = train_batch(c, 4, 6, 4);
  auto flag = std::make_shared<int32_t>(0);
  Job job;
  job.cancelled = [flag] { return *flag != 0; };
  job.progress = [flag, &c](double done, double) { *flag = done > c.num_hidden_layers; };
  std::string code;
  try {
    trainer.step(batch, 1, 1e-3, job);
  } catch (const Error& e) {
    code = e.code;
  }
  expect(type + "/cancel_in_backward", code == "aborted");
  expect(type + "/cancel_leaves_no_result_pending", counted(gpu.model->backend(), "results.pending") == 0);
  trainer.step(batch, 1, 1e-3, Job{});
  calm.step(batch, 1, 1e-3, Job{});
  expect(type + "/cancel_changes_nothing", trainer.state().params == calm.state().params);
}

// Two models on one backend: the first one's memory comes back while the second goes on.
void check_dispose(const std::string& type, const std::shared_ptr<Backend>& backend, const ModelConfig& c,
                   const Checkpoint& checkpoint) {
  const double matrices = counted(*backend, "memory.matrices"), used = counted(*backend, "memory.used");
  Side second = open_side(backend, c, checkpoint);
  second.model->forward(rich_request(second, true), Job{});
  expect(type + "/a_model_takes_matrices", counted(*backend, "memory.matrices") > matrices);
  expect(type + "/a_model_takes_memory", counted(*backend, "memory.used") > used);
  second.model->dispose();
  expect(type + "/dispose_releases_matrices", counted(*backend, "memory.matrices") == matrices);
  expect(type + "/dispose_releases_the_rest", counted(*backend, "memory.used") == used);
  std::vector<TensorLocation> damaged = checkpoint.tensors();
  damaged.back().byte_offset += 1 << 20;
  std::string code;
  try {
    Model(backend, c, &damaged, 0, Job{});
  } catch (const Error& e) {
    code = e.code;
  }
  expect(type + "/failed_load_releases_its_part", code == "tensor-range" && counted(*backend, "memory.matrices") == matrices &&
                                                       counted(*backend, "memory.used") == used);
}

// What is the same in all layers is sent to the device once: a step of a deeper model sends no more.
void check_uploads(const std::string& type, DType act) {
  std::vector<double> sent;
  for (const int layers : {2, 5}) {
    std::shared_ptr<Backend> backend = make_cuda_backend(act);
    ModelConfig c = shape_of("toy");
    c.num_hidden_layers = layers;
    const auto model = std::make_shared<Model>(backend, c, nullptr, 1, Job{});
    const TrainerOptions options = card_options();
    Trainer trainer(model, options, std::vector<double>(static_cast<size_t>(flat_layout(c, options.r, options.targets).count), 0.01));
    TrainBatch batch = train_batch(c, 2, 5, 3);
    trainer.step(batch, 1, 1e-3, Job{});
    const double before = counted(*backend, "upload");
    batch = train_batch(c, 2, 7, 4);
    trainer.step(batch, 2, 1e-3, Job{});
    sent.push_back(counted(*backend, "upload") - before);
  }
  std::printf("# %s: uploads of a step: %.0f with 2 layers, %.0f with 5\n", type.c_str(), sent[0], sent[1]);
  expect(type + "/uploads_do_not_grow_with_layers", sent[1] == sent[0] && sent[0] > 0);
}

// What the pool really held at its fullest during a training step, against the estimate made before loading.
void check_estimate(const std::string& type, DType act, int match_positions) {
  std::shared_ptr<Backend> backend = make_cuda_backend(act);
  ModelConfig c = shape_of("toy");
  c.max_position_embeddings = 128;
  const auto model = std::make_shared<Model>(backend, c, nullptr, 1, Job{});
  WorkShape work;
  work.rows = 8;
  work.context_tokens = 42;
  work.question_tokens = 25;
  work.lora_rank = card_options().r;
  work.training = true;
  work.match_positions = match_positions;
  const MemoryEstimate e = estimate_memory(c, work, act, act, true);
  const TrainerOptions options = card_options();
  const int64_t parameters = flat_layout(c, options.r, options.targets).count;
  Trainer trainer(model, options, std::vector<double>(static_cast<size_t>(parameters), 0.01));
  TrainBatch batch = train_batch(c, work.rows, work.context_tokens, work.question_tokens);
  for (int32_t& positions : batch.match_positions) positions = match_positions;
  trainer.step(batch, 1, 1e-3, Job{});
  const double held = counted(*backend, "memory.peak_used"), library = 32 << 20;  // cuBLASLt's workspace is not in the pool
  const double expected = static_cast<double>(e.adapters + e.kv + e.activations + e.workspace) - library;
  const std::string at = type + (match_positions ? "/matching" : "");
  std::printf("# %s: pool held %.0f bytes, estimated %.0f\n", at.c_str(), held, expected);
  expect(at + "/estimate_is_enough", held <= expected * 1.02);
  expect(at + "/estimate_is_not_idle", held >= expected * 0.75);
}

void check_generation(const std::string& type, Side& cpu, Side& gpu, bool half) {
  const Job job;
  GenerateRequest g = decode_request(cpu.model->config(), 5, 6, 8);
  const GenerateResult got = gpu.model->generate(g, job);
  expect(type + "/generate_repeats", gpu.model->generate(g, job).tokens == got.tokens && got.tokens.size() == 40);
  if (half) return;  // one flipped token changes all that follow
  expect(type + "/generate_sampled", cpu.model->generate(g, job).tokens == got.tokens);
  g.temperature = 0;
  expect(type + "/generate_greedy", cpu.model->generate(g, job).tokens == gpu.model->generate(g, job).tokens);
}

void run(DType act) {
  const bool half = act == DType::BF16;
  const std::string type = half ? "bf16" : "f32";
  std::shared_ptr<Backend> gpu_backend = make_cuda_backend(act), cpu_backend;
  if (half) cpu_backend = std::make_shared<PlainBackend<BF16>>(1);
  else cpu_backend = std::make_shared<PlainBackend<F32>>(1);
  ModelConfig c = shape_of("toy");
  c.num_hidden_layers = 3;
  const Checkpoint checkpoint(c);
  Side cpu = open_side(cpu_backend, c, checkpoint), gpu = open_side(gpu_backend, c, checkpoint);
  std::printf("# %s\n", gpu_backend->describe().c_str());
  check_forward(type, cpu, gpu, half);
  check_training(type, cpu, gpu, half);
  check_generation(type, cpu, gpu, half);
  check_cancel(type, gpu);
  check_uploads(type, act);
  check_estimate(type, act, 0);
  check_estimate(type, act, 25);
  check_dispose(type, gpu_backend, c, checkpoint);
  std::printf("# counters of %s:\n%s", type.c_str(), gpu_backend->counters().c_str());
}

}  // namespace

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const std::string type = argc > 1 ? argv[1] : "both";
  const CudaStatus status = probe_cuda();
  if (!status.available) {
    std::printf("no device: %s\n", status.reason.c_str());
    return 2;
  }
  try {
    if (type != "bf16") run(DType::F32);
    if (type != "f32") run(DType::BF16);
  } catch (const std::exception& e) {
    std::printf("FAIL threw %s\n", e.what());
    return 1;
  }
  return failures ? 1 : 0;
}
