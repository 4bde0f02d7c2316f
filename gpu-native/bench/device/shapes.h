// The model shapes that are measured, and what their work costs at least.
#pragma once
#include <string>

#include "config.h"
#include "error.h"

namespace steerlab::bench {

inline ModelConfig shape_of(const std::string& name) {
  ModelConfig c;
  const auto set = [&](int C, int L, int H, int KVH, int D, int F, int V, bool tied) {
    c.hidden_size = C;
    c.num_hidden_layers = L;
    c.num_attention_heads = H;
    c.num_key_value_heads = KVH;
    c.head_dim = D;
    c.intermediate_size = F;
    c.vocab_size = V;
    c.tie_word_embeddings = tied;
    c.max_position_embeddings = 4096;  // what the work needs; the checkpoints allow 32768
    c.rope_theta = 1e6;
  };
  if (name == "32B") set(5120, 64, 40, 8, 128, 27648, 152064, false);
  else if (name == "7B") set(3584, 28, 28, 4, 128, 18944, 152064, false);
  else if (name == "0.5B") set(896, 24, 14, 2, 64, 4864, 151936, true);
  else if (name == "toy") set(64, 2, 4, 2, 16, 96, 320, true);
  else throw Error("bad-shape", "Expected 32B, 7B, 0.5B or toy for shape but received " + name + ".");
  return c;
}

// Matrix elements of all blocks, and of the head.
inline double block_weights(const ModelConfig& c) {
  double layer = 0;
  for (int p = 0; p < kProjections; ++p) layer += static_cast<double>(projection_in(c, p)) * projection_out(c, p);
  return layer * c.num_hidden_layers;
}
inline double head_weights(const ModelConfig& c) { return static_cast<double>(c.vocab_size) * c.hidden_size; }

// Measured once per run: what this device reaches at best.
struct Ceiling {
  double flops = 0;      // per second, bf16 matrix product of 8192 cubed
  double bandwidth = 0;  // bytes per second, read plus written by a large copy
};

// Seconds below which one sweep over the weights for `tokens` tokens cannot be: its products at the measured rate, or all weights read
// once, whichever takes longer. A training step is two sweeps, forward and backward, and its floor the sum of theirs.
inline double floor_seconds(const ModelConfig& c, const Ceiling& top, double tokens, double logit_rows) {
  const double compute = (2 * block_weights(c) * tokens + 2 * head_weights(c) * logit_rows) / top.flops;
  const double memory = 2 * block_weights(c) / top.bandwidth;
  return compute > memory ? compute : memory;
}

}  // namespace steerlab::bench
