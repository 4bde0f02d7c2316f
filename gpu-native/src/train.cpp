#include "train.h"

#include <algorithm>
#include <cmath>

#include "backward.h"
#include "error.h"
#include "losses.h"

namespace steerlab {
namespace {

void check_offsets(const std::vector<int32_t>& offsets, size_t tokens, int examples, int least, const char* name) {
  bool ok = static_cast<int>(offsets.size()) == examples + 1 && offsets.front() == 0 && offsets.back() == static_cast<int32_t>(tokens);
  for (size_t i = 1; ok && i < offsets.size(); ++i) ok = offsets[i] >= offsets[i - 1] + least;
  if (!ok) throw Error("bad-request", std::string("Expected rising offsets over all tokens for ") + name + ".");
}

}  // namespace

void check_batch(const TrainBatch& b, const ModelConfig& c) {
  const int examples = b.examples();
  if (examples < 1) throw Error("bad-request", "Expected at least one example for batch but received 0.");
  if (b.micro_batch < 1) throw Error("bad-request", "Expected microBatch >= 1 but received " + std::to_string(b.micro_batch) + ".");
  check_offsets(b.context_offsets, b.context_tokens.size(), examples, 0, "contextOffsets");  // a bare question has no context
  check_offsets(b.question_offsets, b.question_tokens.size(), examples, 1, "questionOffsets");
  if (static_cast<int>(b.labels.size()) != 2 * examples) throw Error("bad-request", "Expected two labels for each example.");
  if (static_cast<int>(b.match_positions.size()) != examples || static_cast<int>(b.weights.size()) != examples)
    throw Error("bad-request", "Expected one number for each example for matchPositions and weights.");
  for (int e = 0; e < examples; ++e) {
    const size_t i = static_cast<size_t>(e);
    if (!(b.weights[i] >= 0) || !std::isfinite(b.weights[i]))
      throw Error("bad-request", "Expected a weight >= 0 for example " + std::to_string(e) + " but received " + std::to_string(b.weights[i]) + ".");
    const int question = b.question_offsets[i + 1] - b.question_offsets[i];
    if (b.match_positions[i] < 0 || b.match_positions[i] > question)
      throw Error("bad-request", "Expected at most the " + std::to_string(question) + " positions of the question for matchPositions of example " +
                                     std::to_string(e) + " but received " + std::to_string(b.match_positions[i]) + ".");
    if (b.matches(e)) continue;
    for (const int32_t label : {b.labels[2 * i], b.labels[2 * i + 1]})
      if (label < 0 || label >= c.vocab_size)
        throw Error("bad-token", "Expected a token id in [0, " + std::to_string(c.vocab_size) + ") for label but received " + std::to_string(label) + ".");
    if (b.targets[i] != 0 && b.targets[i] != 1) throw Error("bad-request", "Expected 0 or 1 for target but received " + std::to_string(b.targets[i]) + ".");
    if (b.labels[2 * i] == b.labels[2 * i + 1]) throw Error("bad-request", "Expected two different labels but received " + std::to_string(b.labels[2 * i]) + " twice.");
  }
  const SteeringColumns& s = b.steering;
  for (const size_t size : {s.vector.size(), s.layer_start.size(), s.layer_end.size(), s.span_start.size(), s.span_end.size(), s.magnitude.size()})
    if (size != s.row.size()) throw Error("bad-request", "Expected steering columns of one length.");
  for (const int32_t row : s.row) {
    if (row < 0 || row >= examples) throw Error("bad-request", "Expected an example index for steering.row but received " + std::to_string(row) + ".");
    if (b.context_offsets[static_cast<size_t>(row)] == b.context_offsets[static_cast<size_t>(row) + 1])
      throw Error("bad-request", "Expected a context to steer for steering.row but example " + std::to_string(row) + " has none.");
  }
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
  model_->backend().optimizer_step({.p = params_->get(), .m = m_.get(), .v = v_.get(), .g = grads_.get(),
                                    .count = static_cast<size_t>(layout_.count), .hyper = hyper, .norm = result.grad_norm});
  return result;
}

void Trainer::micro_pass(const TrainBatch& batch, int first, int count, bool with_gradient, const Dropout* dropout, const Job& job,
                         double done, double total, BatchResult& result) {
  const MicroBatch micro = micro_batch(batch, first, count, live_);
  const PassPlan plan = make_plan(micro.request, model_->config());

  PassOptions options;
  options.progress_done = done;
  options.progress_total = total;
  if (with_gradient) options.tail_begin = plan.rows[static_cast<size_t>(micro.first_question)].begin;
  Dropout masks;
  if (dropout) {
    masks = *dropout;
    for (const int32_t row : plan.token_row) masks.token_example.push_back(micro.row_example[static_cast<size_t>(row)]);
    options.dropout = &masks;
  }
  Pass pass(*model_, micro.request, plan, options);
  pass.run(job);

  Losses losses(*model_, pass, batch, micro, options_.mass_weight);
  const void* dfinal = losses.run(with_gradient);
  if (with_gradient) Backward{*model_, pass, plan, layout_, *live_, grads_, options}.run(dfinal, job);
  model_->backend().synchronize();
  losses.append_to(result);
}

}  // namespace steerlab
