// The losses of one training pass: what the final-normed residual stream of its wanted tokens says, and the gradient of that.
//
// A label example asks at its last position: LabelLoss over two labels. A match example compares its last K positions with the base
// model's own distribution there: MatchLoss, averaged over the K. The base is a row of the same pass, without adapter and without
// gradient. Gradients are scaled by weight / (examples of the step), for a match position also by 1 / K.
#pragma once
#include <vector>

#include "pass.h"

namespace steerlab {

// A micro-batch as one request. Rows: `count` contexts, then the base of each match example (context and question in one row), then
// `count` questions, each the child of its context: the tail that is differentiated.
struct MicroBatch {
  ForwardRequest request;
  int first = 0, count = 0, first_question = 0;
  std::vector<int32_t> row_example;  // of every row, counted from the start of the batch
};
MicroBatch micro_batch(const TrainBatch& batch, int first, int count, std::shared_ptr<const Adapter> adapter);

class Losses {
 public:
  Losses(Model& model, const Pass& pass, const TrainBatch& batch, const MicroBatch& micro, float mass_weight);
  // A batch stopped half-way (cancelled, out of memory) must not leave the device with results still to be written to host memory that
  // is going away: whoever leaves waits for them first.
  ~Losses();
  Losses(const Losses&) = delete;
  Losses& operator=(const Losses&) = delete;

  // Gradient with respect to the final-normed stream of the tail's wanted tokens (n, C), or null where none is asked for.
  const void* run(bool with_gradient);
  // After the device has been waited for.
  void append_to(BatchResult& result) const;

 private:
  // Wanted tokens of one kind of loss; `place`: which of the tail's wanted tokens each is.
  struct Group {
    std::vector<int32_t> row, place;
    std::vector<double> scale;
  };
  void label_group(const Group& group, void* gradient);
  void match_group(const Group& group, const std::vector<int32_t>& base, void* gradient);
  const double* scales(const Group& group);
  void backward(void* gradient, const void* dlogits, const int32_t* labels, int first, int count);

  Model& model_;
  const Pass& pass_;
  const TrainBatch& batch_;
  const MicroBatch& micro_;
  float mass_weight_;
  std::vector<LabelResult> labelled_;  // of the label examples
  std::vector<double> divergence_;     // of every position of the match examples
};

}  // namespace steerlab
