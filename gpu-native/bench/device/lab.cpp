// steerlab_device_lab <folder>: does again what lab.py wrote down, on the CUDA library, and compares (report.h for the lines).
//
// Scores of steered trials, the gradients of one step, twelve AdamW steps with dropout, all against transformers + PEFT on the
// same weights and masks. The folder's tensors say which type to work in. STEERLAB_CUDA_LIBRARY names the library.
// Tolerances are relative to the norm of what is expected: in F32 sums are only ordered otherwise; in bf16 both sides round, not
// always to the same side, and AdamW turns small gradients into steps as large as any. There the F32 results on the
// same weights are the measure: ours may stand no further from them than transformers' own, a half more at the most.
#include <fstream>
#include <sstream>

#include "loader.h"
#include "model.h"
#include "report.h"
#include "train.h"

namespace {

using namespace steerlab;
using namespace steerlab::bench;

class Written {
 public:
  explicit Written(const std::string& folder) : file_(folder + "/data.bin"), data_(file_) {
    std::ifstream index(folder + "/index.txt");
    std::string name, type, shape;
    for (int64_t offset; index >> name >> type >> shape >> offset;) {
      TensorLocation t;
      t.name = name;
      t.file = file_;
      t.dtype = type == "bf16" ? DType::BF16 : DType::F32;
      int64_t count = 1;
      std::stringstream dims(shape);
      for (std::string d; std::getline(dims, d, 'x');) {
        t.shape.push_back(std::stoll(d));
        count *= t.shape.back();
      }
      t.byte_offset = offset;
      t.byte_length = count * (type == "bf16" ? 2 : 4);
      const std::string prefix = "tensor.";
      if (name.rfind(prefix, 0) == 0) {
        t.name = name.substr(prefix.size());
        tensors_.push_back(t);
      } else {
        arrays_[name] = t;
      }
    }
  }
  const std::vector<TensorLocation>& tensors() const { return tensors_; }
  bool half() const { return !tensors_.empty() && tensors_[0].dtype == DType::BF16; }
  template <class T>
  std::vector<T> read(const std::string& name) const {
    const auto found = arrays_.find(name);
    if (found == arrays_.end()) throw Error("bad-request", "Expected " + name + " in the folder of lab.py but it is not there.");
    const T* from = reinterpret_cast<const T*>(data_.data() + found->second.byte_offset);
    return std::vector<T>(from, from + found->second.byte_length / 4);
  }

 private:
  std::string file_;
  MappedFile data_;
  std::vector<TensorLocation> tensors_;
  std::map<std::string, TensorLocation> arrays_;
};

// How far ours is from the exact numbers, as a share of how far transformers' own bf16 is.
void note_share(const Written& w, const std::string& what, const std::string& name, const std::vector<double>& ours) {
  const std::vector<float> exact = w.read<float>("exact." + name);
  note(what + ", distance from exact as a share of theirs", distance(ours, exact) / distance(w.read<float>(name), exact), 1.5);
}

struct Work {
  ModelConfig config;
  int context, question, trials, examples, rank, alpha, steps, seed;
  float dropout, rate;
  std::vector<int32_t> contexts, questions, layers, targets;
  std::vector<float> vectors, magnitudes;
};

Work read_work(const Written& w) {
  Work k;
  const std::vector<int32_t> c = w.read<int32_t>("config"), s = w.read<int32_t>("sizes");
  k.config.hidden_size = c[0];
  k.config.num_hidden_layers = c[1];
  k.config.num_attention_heads = c[2];
  k.config.num_key_value_heads = c[3];
  k.config.head_dim = c[4];
  k.config.intermediate_size = c[5];
  k.config.vocab_size = c[6];
  k.config.max_position_embeddings = c[7];
  k.config.tie_word_embeddings = c[8] != 0;
  k.context = s[0], k.question = s[1], k.trials = s[2], k.examples = s[3];
  k.rank = s[4], k.alpha = s[5], k.steps = s[6], k.seed = s[7];
  const std::vector<float> rates = w.read<float>("rates");
  k.dropout = rates[0], k.rate = rates[1];
  k.contexts = w.read<int32_t>("contexts"), k.questions = w.read<int32_t>("questions");
  k.layers = w.read<int32_t>("layers"), k.targets = w.read<int32_t>("targets");
  k.vectors = w.read<float>("vectors"), k.magnitudes = w.read<float>("magnitudes");
  return k;
}

std::vector<int32_t> row_of(const std::vector<int32_t>& table, int row, int width) {
  return {table.begin() + static_cast<int64_t>(row) * width, table.begin() + static_cast<int64_t>(row + 1) * width};
}

// The steering of drawn row `drawn`, as row `row` of a request.
void steer(SteeringColumns& s, const Work& k, int drawn, int row) {
  const size_t d = static_cast<size_t>(drawn);
  if (k.magnitudes[d] == 0) return;
  s.row.push_back(row);
  s.vector.push_back(drawn);
  s.layer_start.push_back(k.layers[2 * d]);
  s.layer_end.push_back(k.layers[2 * d + 1]);
  s.span_start.push_back(0);
  s.span_end.push_back(k.context);
  s.magnitude.push_back(k.magnitudes[d]);
}

void check_scores(const Written& w, const Work& k, Model& model, double allowed) {
  ForwardRequest q;
  q.row_offsets = {0};
  q.steering.vectors = k.vectors;
  q.report.wanted = q.report.full = true;
  q.report.token_offsets = {0};
  const auto add = [&](const std::vector<int32_t>& tokens, int parent) {
    q.tokens.insert(q.tokens.end(), tokens.begin(), tokens.end());
    q.row_offsets.push_back(static_cast<int32_t>(q.tokens.size()));
    q.parent_row.push_back(parent);
    q.parent_cache.push_back(nullptr);
    q.row_adapter.push_back(-1);
    q.keep_cache.push_back(0);
  };
  for (int i = 0; i < k.trials; ++i) {
    add(row_of(k.contexts, i, k.context), -1);
    steer(q.steering, k, i, i);
  }
  for (int i = 0; i < k.trials; ++i) {
    add(row_of(k.questions, i, k.question), i);
    q.report.rows.push_back(k.trials + i);
    q.report.token_offsets.push_back(0);
  }
  const std::string what = "lab model against transformers: log-probabilities of steered trials";
  const std::vector<float> all = model.forward(q, Job{}).all;
  note(what, distance(all, w.read<float>("scores")), allowed);
  if (w.half()) note_share(w, what, "scores", std::vector<double>(all.begin(), all.end()));
}

TrainBatch batch_of(const Work& k) {
  TrainBatch b;
  b.context_offsets = b.question_offsets = {0};
  b.steering.vectors = k.vectors;
  for (int i = 0; i < k.examples; ++i) {
    const std::vector<int32_t> context = row_of(k.contexts, k.trials + i, k.context), question = row_of(k.questions, k.trials + i, k.question);
    b.context_tokens.insert(b.context_tokens.end(), context.begin(), context.end());
    b.question_tokens.insert(b.question_tokens.end(), question.begin(), question.end());
    b.context_offsets.push_back(static_cast<int32_t>(b.context_tokens.size()));
    b.question_offsets.push_back(static_cast<int32_t>(b.question_tokens.size()));
    b.labels.insert(b.labels.end(), {1, 2});
    b.match_positions.push_back(0);
    b.weights.push_back(1);
    steer(b.steering, k, k.trials + i, i);
  }
  b.targets = k.targets;
  b.micro_batch = k.examples;
  return b;
}

void check_training(const Written& w, const Work& k, const std::shared_ptr<Model>& model, bool half) {
  TrainerOptions options;
  options.r = k.rank;
  options.alpha = static_cast<float>(k.alpha);
  options.dropout = k.dropout;
  options.targets = {kQ, kK, kV, kO};
  options.seed = static_cast<uint64_t>(k.seed);
  options.weight_decay = 0.01;
  options.max_grad_norm = 1;
  const std::vector<float> start = w.read<float>("initial"), end = w.read<float>("final");
  Trainer trainer(model, options, std::vector<double>(start.begin(), start.end()));
  const TrainBatch batch = batch_of(k);
  const std::string at = "lab model against transformers + PEFT: ";
  const BatchResult first = trainer.gradients(batch, 1, Job{});
  note(at + "log-probabilities of step 1", distance(first.logprob, w.read<float>("logprobs")), half ? 2e-2 : 1e-4);
  note(at + "gradients of step 1", distance(first.gradients, w.read<float>("gradients")), half ? 0.1 : 1e-3);
  if (half) note_share(w, at + "gradients of step 1", "gradients", first.gradients);
  std::vector<double> losses, norms;
  for (int step = 1; step <= k.steps; ++step) {
    const BatchResult r = trainer.step(batch, step, k.rate, Job{});
    losses.insert(losses.end(), r.loss.begin(), r.loss.end());
    norms.push_back(r.grad_norm);
  }
  note(at + "losses of " + std::to_string(k.steps) + " steps", distance(losses, w.read<float>("losses")), half ? 5e-2 : 1e-3);
  note(at + "gradient norms", distance(norms, w.read<float>("norms")), half ? 5e-2 : 2e-3);
  std::vector<double> moved = trainer.state().params, wanted(end.begin(), end.end());
  for (size_t i = 0; i < moved.size(); ++i) {
    moved[i] -= start[i];
    wanted[i] -= start[i];
  }
  note(at + "how far the adapters moved", distance(moved, wanted), half ? 0.25 : 2e-2);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::printf("usage: steerlab_device_lab <folder of lab.py>\n");
    return 2;
  }
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  try {
    const Written written(argv[1]);
    const Work work = read_work(written);
    const bool half = written.half();
    const auto backend = make_cuda_backend(half ? DType::BF16 : DType::F32);
    std::printf("# %s\n", backend->describe().c_str());
    const auto model = std::make_shared<Model>(backend, work.config, &written.tensors(), 0, Job{});
    Products products(*backend);
    check_scores(written, work, *model, half ? 2e-2 : 1e-4);
    check_training(written, work, model, half);
    if (half) products.asserted("the lab model");
  } catch (const std::exception& e) {
    std::printf("FAIL the lab model threw %s\n", e.what());
    return 1;
  }
  return failures ? 1 : 0;
}
