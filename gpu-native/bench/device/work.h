// The pieces of work that are timed: requests with random tokens, built once, run many times.
#pragma once
#include <memory>
#include <vector>

#include "model.h"
#include "rng.h"
#include "train.h"

namespace steerlab::bench {

class Tokens {
 public:
  explicit Tokens(uint64_t seed) : seed_(seed) {}
  int32_t next(int below) { return static_cast<int32_t>(philox(count_++, 0, 0, 3, seed_).w[0] % static_cast<uint32_t>(below)); }
  float normal() {
    float sum = 0;
    for (int i = 0; i < 12; ++i) sum += uniform24(philox(count_++, 0, 0, 4, seed_).w[0]);
    return sum - 6;
  }

 private:
  uint64_t seed_;
  uint32_t count_ = 0;
};

// `count` numbers of about Normal(0, scale^2), drawn from a pool so that millions cost nothing: a device must not wait for them.
std::vector<double> some_numbers(int64_t count, double scale);

// `n` random unit directions, end to end.
std::vector<float> unit_vectors(int n, int C, uint64_t seed);

// Batch of the card's training: half of the examples steered over a third of the layers.
TrainBatch train_batch(const ModelConfig& c, int examples, int context, int question);
TrainerOptions card_options();

// `concepts` x 3 ranges x 4 magnitudes: every trial its own steered context (equal tokens) and its question.
ForwardRequest sweep_request(const ModelConfig& c, int concepts, int context, int question, bool share);

// One context kept as a cache; then `questions` rows on it.
ForwardRequest context_request(const ModelConfig& c, int context);
ForwardRequest questions_request(const ModelConfig& c, const std::shared_ptr<const Cache>& cache, int questions, int length);

GenerateRequest decode_request(const ModelConfig& c, int rows, int prompt, int tokens);

}  // namespace steerlab::bench
