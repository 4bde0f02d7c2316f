#include "train.h"

#include <algorithm>
#include <cmath>

#include "backward.h"
#include "error.h"

namespace steerlab {
namespace {

void check_offsets(const std::vector<int32_t>& offsets, size_t tokens, int examples, int least, const char* name) {
  bool ok = static_cast<int>(offsets.size()) == examples + 1 && offsets.front() == 0 && offsets.back() == static_cast<int32_t>(tokens);
  for (size_t i = 1; ok && i < offsets.size(); ++i) ok = offsets[i] >= offsets[i - 1] + least;
  if (!ok) throw Error("bad-request", std::string("Expected rising offsets over all tokens for ") + name + ".");
}

struct MicroBatch {
  ForwardRequest request;
  std::vector<int32_t> example;  // of each row
  int contexts = 0;
};

// Contexts come first, then the questions, each the child of its context; a bare question has none.
MicroBatch micro_batch(const TrainBatch& batch, int first, int count, std::shared_ptr<const Adapter> adapter) {
  MicroBatch micro;
  ForwardRequest& q = micro.request;
  q.adapters = {adapter, batch.context_adapter ? batch.context_adapter : adapter};
  const int context_adapter = batch.context_adapter ? 1 : 0;
  q.row_offsets = {0};
  q.report.wanted = true;
  q.report.token_offsets = {0};
  const auto add_row = [&](const std::vector<int32_t>& tokens, const std::vector<int32_t>& offsets, int example, int parent) {
    const bool question = &tokens == &batch.question_tokens;
    q.tokens.insert(q.tokens.end(), tokens.begin() + offsets[static_cast<size_t>(example)], tokens.begin() + offsets[static_cast<size_t>(example) + 1]);
    q.row_offsets.push_back(static_cast<int32_t>(q.tokens.size()));
    q.parent_row.push_back(parent);
    q.parent_cache.push_back(nullptr);
    q.row_adapter.push_back(question ? 0 : context_adapter);
    q.keep_cache.push_back(0);
    micro.example.push_back(example);
  };
  std::vector<int> context_row(static_cast<size_t>(count), -1);
  for (int i = 0; i < count; ++i) {
    const size_t at = static_cast<size_t>(first + i);
    if (batch.context_offsets[at] == batch.context_offsets[at + 1]) continue;
    context_row[static_cast<size_t>(i)] = micro.contexts++;
    add_row(batch.context_tokens, batch.context_offsets, first + i, -1);
  }
  for (int i = 0; i < count; ++i) {
    add_row(batch.question_tokens, batch.question_offsets, first + i, context_row[static_cast<size_t>(i)]);
    q.report.rows.push_back(micro.contexts + i);
    q.report.token_offsets.push_back(0);
  }
  const SteeringColumns& s = batch.steering;
  q.steering.vectors = s.vectors;
  for (size_t e = 0; e < s.row.size(); ++e) {
    if (s.row[e] < first || s.row[e] >= first + count) continue;
    q.steering.row.push_back(context_row[static_cast<size_t>(s.row[e] - first)]);  // -1, refused later: nothing to steer
    q.steering.vector.push_back(s.vector[e]);
    q.steering.layer_start.push_back(s.layer_start[e]);
    q.steering.layer_end.push_back(s.layer_end[e]);
    q.steering.span_start.push_back(s.span_start[e]);
    q.steering.span_end.push_back(s.span_end[e]);
    q.steering.magnitude.push_back(s.magnitude[e]);
  }
  return micro;
}

// A batch stopped half-way (cancelled, out of memory) must not leave the device with results that are still to be written to host
// memory which is going away: whoever leaves waits for them first.
class Settled {
 public:
  explicit Settled(Backend& backend) : backend_(backend) {}
  ~Settled() {
    try {
      backend_.synchronize();
    } catch (...) {  // a broken device; the failure that brought us here says more
    }
  }
  Settled(const Settled&) = delete;
  Settled& operator=(const Settled&) = delete;

 private:
  Backend& backend_;
};

}  // namespace

void check_batch(const TrainBatch& b, const ModelConfig& c) {
  const int examples = b.examples();
  if (examples < 1) throw Error("bad-request", "Expected at least one example for batch but received 0.");
  if (b.micro_batch < 1) throw Error("bad-request", "Expected microBatch >= 1 but received " + std::to_string(b.micro_batch) + ".");
  check_offsets(b.context_offsets, b.context_tokens.size(), examples, 0, "contextOffsets");  // a bare question has no context
  check_offsets(b.question_offsets, b.question_tokens.size(), examples, 1, "questionOffsets");
  if (static_cast<int>(b.labels.size()) != 2 * examples) throw Error("bad-request", "Expected two labels for each example.");
  for (const int32_t label : b.labels)
    if (label < 0 || label >= c.vocab_size)
      throw Error("bad-token", "Expected a token id in [0, " + std::to_string(c.vocab_size) + ") for label but received " + std::to_string(label) + ".");
  for (size_t i = 0; i < b.targets.size(); ++i) {
    if (b.targets[i] != 0 && b.targets[i] != 1) throw Error("bad-request", "Expected 0 or 1 for target but received " + std::to_string(b.targets[i]) + ".");
    if (b.labels[2 * i] == b.labels[2 * i + 1]) throw Error("bad-request", "Expected two different labels but received " + std::to_string(b.labels[2 * i]) + " twice.");
  }
  const SteeringColumns& s = b.steering;
  for (const size_t size : {s.vector.size(), s.layer_start.size(), s.layer_end.size(), s.span_start.size(), s.span_end.size(), s.magnitude.size()})
    if (size != s.row.size()) throw Error("bad-request", "Expected steering columns of one length.");
  for (const int32_t row : s.row)
    if (row < 0 || row >= examples) throw Error("bad-request", "Expected an example index for steering.row but received " + std::to_string(row) + ".");
}

Trainer::Trainer(std::shared_ptr<Model> model, const TrainerOptions& options, const std::vector<double>& initial)
    : model_(std::move(model)), options_(options), layout_(flat_layout(model_->config(), options.r, options.targets)) {
  if (static_cast<int64_t>(initial.size()) != layout_.count)
    throw Error("bad-request", "Expected " + std::to_string(layout_.count) + " numbers for initial but received " + std::to_string(initial.size()) + ".");
  if (!(options_.dropout >= 0 && options_.dropout < 1)) throw Error("bad-request", "Expected 0 <= dropout < 1.");
  Backend& be = model_->backend();
  const size_t bytes = static_cast<size_t>(layout_.count) * bytes_of(be.master());
  params_ = std::make_shared<DeviceBuffer>(model_->memory(), bytes);
  m_ = DeviceBuffer(model_->memory(), bytes);
  v_ = DeviceBuffer(model_->memory(), bytes);
  grads_ = DeviceBuffer(model_->memory(), bytes);
  be.zero(m_.get(), bytes);
  be.zero(v_.get(), bytes);
  upload_master(params_->get(), initial);
  live_ = view_adapter(model_->config(), layout_, options_.alpha / static_cast<float>(options_.r), params_, be.master());
}

void Trainer::upload_master(void* dst, const std::vector<double>& values) {
  Backend& be = model_->backend();
  if (be.master() == DType::F64) return be.upload(dst, values.data(), values.size() * sizeof(double));
  const std::vector<float> narrow(values.begin(), values.end());
  be.upload(dst, narrow.data(), narrow.size() * sizeof(float));
}

std::vector<double> Trainer::download_master(const void* src) const {
  Backend& be = model_->backend();
  std::vector<double> out(static_cast<size_t>(layout_.count));
  if (be.master() == DType::F64) {
    be.download(out.data(), src, out.size() * sizeof(double));
    return out;
  }
  std::vector<float> narrow(out.size());
  be.download(narrow.data(), src, narrow.size() * sizeof(float));
  std::copy(narrow.begin(), narrow.end(), out.begin());
  return out;
}

Trainer::State Trainer::state() { return {download_master(params_->get()), download_master(m_.get()), download_master(v_.get())}; }

void Trainer::set_state(const State& s) {
  for (const auto* part : {&s.params, &s.m, &s.v})
    if (static_cast<int64_t>(part->size()) != layout_.count)
      throw Error("bad-request", "Expected " + std::to_string(layout_.count) + " numbers for trainer state but received " + std::to_string(part->size()) + ".");
  upload_master(params_->get(), s.params);
  upload_master(m_.get(), s.m);
  upload_master(v_.get(), s.v);
}

std::shared_ptr<Adapter> Trainer::snapshot() {
  auto copy = std::make_shared<DeviceBuffer>(model_->memory(), params_->size());
  model_->backend().copy(copy->get(), params_->get(), params_->size());
  return view_adapter(model_->config(), layout_, options_.alpha / static_cast<float>(options_.r), std::move(copy), model_->backend().master());
}

BatchResult Trainer::run(const TrainBatch& batch, bool with_gradient, const Dropout* dropout, const Job& job) {
  check_batch(batch, model_->config());
  const int examples = batch.examples(), micro = std::min(batch.micro_batch, examples);
  if (with_gradient) model_->backend().zero(grads_.get(), grads_.size());
  BatchResult result;
  const double per_micro = (with_gradient ? 2.0 : 1.0) * model_->config().num_hidden_layers;
  const double total = per_micro * ((examples + micro - 1) / micro);
  double done = 0;
  for (int first = 0; first < examples; first += micro, done += per_micro)
    micro_pass(batch, first, std::min(micro, examples - first), with_gradient, dropout, job, done, total, result);
  return result;
}

BatchResult Trainer::evaluate(const TrainBatch& batch, const Job& job) { return run(batch, false, nullptr, job); }

BatchResult Trainer::gradients(const TrainBatch& batch, int64_t step, const Job& job) {
  Dropout dropout{options_.dropout, options_.seed, static_cast<uint32_t>(step), {}};
  BatchResult result = run(batch, true, options_.dropout > 0 ? &dropout : nullptr, job);
  result.gradients = download_master(grads_.get());
  return result;
}

BatchResult Trainer::step(const TrainBatch& batch, int64_t step, double lr, const Job& job) {
  if (step < 1) throw Error("bad-request", "Expected step >= 1 but received " + std::to_string(step) + ".");
  Dropout dropout{options_.dropout, options_.seed, static_cast<uint32_t>(step), {}};
  BatchResult result = run(batch, true, options_.dropout > 0 ? &dropout : nullptr, job);
  for (size_t i = 0; i < result.loss.size(); ++i) {
    if (std::isfinite(result.loss[i])) continue;
    throw Error("non-finite-loss", "Expected a finite loss for example " + std::to_string(i) + " of step " + std::to_string(step) +
                                       " but received " + std::to_string(result.loss[i]) + ". The parameters are unchanged; lower the learning rate or the magnitudes.");
  }
  job.checkpoint();  // the last moment at which stopping leaves the parameters as they were
  const AdamW hyper{lr, options_.beta1, options_.beta2, options_.eps, options_.weight_decay, options_.max_grad_norm, step};
  result.grad_norm = model_->backend().optimizer_step(params_->get(), m_.get(), v_.get(), grads_.get(), static_cast<size_t>(layout_.count), hyper);
  return result;
}

void Trainer::micro_pass(const TrainBatch& batch, int first, int count, bool with_gradient, const Dropout* dropout, const Job& job,
                         double done, double total, BatchResult& result) {
  Backend& be = model_->backend();
  Scratch& scratch = model_->scratch();
  const ModelConfig& c = model_->config();
  const MicroBatch micro = micro_batch(batch, first, count, live_);
  const PassPlan plan = make_plan(micro.request, c);

  PassOptions options;
  options.progress_done = done;
  options.progress_total = total;
  if (with_gradient) options.tail_begin = plan.rows[static_cast<size_t>(micro.contexts)].begin;
  Dropout masks;
  if (dropout) {
    masks = *dropout;
    for (const int32_t row : plan.token_row) masks.token_example.push_back(micro.example[static_cast<size_t>(row)]);
    options.dropout = &masks;
  }
  Pass pass(*model_, micro.request, plan, options);
  pass.run(job);

  const size_t C = static_cast<size_t>(c.hidden_size);
  std::vector<int32_t> order;  // reported order and packed order agree: questions ascend
  for (const int32_t token : plan.reported) order.push_back(pass.wanted_row(token));
  const int32_t* index = scratch.upload("train.order", order.data(), order.size());
  void* rows = scratch.get("train.rows", static_cast<size_t>(count) * C * bytes_of(be.act()));
  be.gather_rows(rows, pass.final_rows(), index, count, c.hidden_size);
  void* logits = scratch.get("train.logits", static_cast<size_t>(count) * c.vocab_size * bytes_of(be.master()));
  be.logits(logits, rows, model_->weights().head, count);

  const int32_t* labels = scratch.upload("train.labels", batch.labels.data() + 2 * first, static_cast<size_t>(2 * count));
  const int32_t* targets = scratch.upload("train.targets", batch.targets.data() + first, static_cast<size_t>(count));
  std::vector<LabelResult> labelled(static_cast<size_t>(count));
  const Settled settled(be);  // destroyed before `labelled`
  be.label_loss(labelled.data(), with_gradient ? logits : nullptr, logits, labels, targets, options_.mass_weight, 1.0 / batch.examples(), count,
                c.vocab_size);
  if (with_gradient) {
    Backward back{*model_, pass, plan, layout_, *live_, grads_, options, count};
    back.run(logits, options_.mass_weight == 0 ? labels : nullptr, job);
  }
  be.synchronize();
  for (const LabelResult& r : labelled) {
    result.loss.push_back(r.loss);
    result.logprob.insert(result.logprob.end(), {r.logprob[0], r.logprob[1]});
    result.logmass.push_back(r.logmass);
  }
}

}  // namespace steerlab
