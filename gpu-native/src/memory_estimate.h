// How much device memory a model and a piece of work will take, before anything is loaded.
//
// Counts what model.cpp, pass_setup.cpp, train.cpp, losses.cpp and backward.cpp allocate (the buffers are named in the .cpp) plus what the device
// itself takes. Above the seam: the CPU backend maps bf16 and F32 weights instead of copying them, so there `weights` is address
// space, not allocation. An estimate, checked against measured peaks where a device has run it; reads nothing, allocates nothing.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "config.h"

namespace steerlab {

struct WorkShape {
  int rows = 1;               // rows packed into one pass (training: examples of a micro-batch)
  int context_tokens = 0;     // per row, no gradient
  int question_tokens = 0;    // per row
  bool shared_context = false;  // rows continue one context instead of each having its own (never in training)
  int kept_tokens = 0;        // positions of caches held at the same time, over all caches
  int lora_rank = 0;          // of each adapter; 0: none
  int lora_targets[kProjections] = {1, 1, 1, 1, 0, 0, 0};  // 1: has an adapter
  bool training = false;
  int match_positions = 0;  // training: positions of each row that are compared with its base row of the same pass; 0: none
};

struct MemoryEstimate {
  size_t weights = 0;      // matrices, norms, biases
  size_t adapters = 0;     // parameters; in training also gradients and two moments
  size_t kv = 0;           // keys and values of the pass and of kept caches
  size_t activations = 0;  // of the pass; in training what backward needs of the question tokens
  size_t workspace = 0;    // gradients in flight, logits, rotary tables, F32 sums, library workspaces, pinned and pool slack
  size_t context = 0;      // driver context and loaded kernels (measured values differ by driver)
  size_t total() const { return weights + adapters + kv + activations + workspace + context; }
};

// act: type of activations; weights are counted in `stored` (BF16 for BF16 activations). device: whether the device's own
// costs are added.
MemoryEstimate estimate_memory(const ModelConfig& config, const WorkShape& work, DType act, DType stored, bool device);

// One line per part and the total, in GB (10^9 bytes).
std::string describe_estimate(const MemoryEstimate& e);

}  // namespace steerlab
