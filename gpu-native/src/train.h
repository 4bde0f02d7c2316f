// LoRA training on one packed pass: contexts first, questions last, gradient through the questions only.
//
// The original procedure (prefill the steered context without gradient, turn steering off, ask on that cache, cross-entropy over two
// labels at the last position) is one causal pass: context tokens never attend to questions, so their keys and values are
// constants of the question's graph. LoRA and its dropout act on all tokens but those of base rows.
//
// What is descended is the mean over the examples of a step of weight times loss, label loss or match loss (losses.h).
//
// Parameters are one flat master-type array (lora.h: flat_layout) with AdamW moments of the same layout. Gradients are
// sums over examples in order, scaled by 1 / (examples of the step): any micro-batch split gives the same bytes.
#pragma once
#include <memory>

#include "model.h"
#include "pass.h"

namespace steerlab {

class Trainer {
 public:
  // `initial` (count of the layout); moments start at zero.
  Trainer(std::shared_ptr<Model> model, const TrainerOptions& options, const std::vector<double>& initial);

  BatchResult step(const TrainBatch& batch, int64_t step, double lr, const Job& job);
  BatchResult evaluate(const TrainBatch& batch, const Job& job);
  BatchResult gradients(const TrainBatch& batch, int64_t step, const Job& job);

  // Host copies in master precision, widened to double.
  struct State {
    std::vector<double> params, m, v;
  };
  State state();
  void set_state(const State& state);
  // A copy of the present parameters.
  std::shared_ptr<Adapter> snapshot();
  const FlatLayout& layout() const { return layout_; }

 private:
  BatchResult run(const TrainBatch& batch, bool with_gradient, const Dropout* dropout, const Job& job);
  void micro_pass(const TrainBatch& batch, int first, int count, bool with_gradient, const Dropout* dropout, const Job& job, double done,
                  double total, BatchResult& result);
  void upload_master(void* dst, const std::vector<double>& values);
  std::vector<double> download_master(const void* src) const;
  std::shared_ptr<Model> model_;
  TrainerOptions options_;
  FlatLayout layout_;
  std::shared_ptr<DeviceBuffer> params_;
  DeviceBuffer m_, v_, grads_;
  std::shared_ptr<Adapter> live_;
};

// Throws "bad-request", "bad-token" ... for lengths, labels and targets that do not fit.
void check_batch(const TrainBatch& batch, const ModelConfig& config);

}  // namespace steerlab
