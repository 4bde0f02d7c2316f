// The adapters of one block's projections at model size, forward and backward, on a backend of its own.
#pragma once
#include <vector>

#include "backend.h"

namespace steerlab::bench {

struct AdapterWork {
  std::vector<float> u, y, dx, gradients;  // of the last run; gradients: dA, dB of each part
};

// Projections of x (tokens of examples x (context + question), in) with adapters of rank 16 and dropout, then their gradients over the
// questions; `repeats` times. Counters of `b` tell the time.
AdapterWork adapter_work(Backend& b, const std::vector<int>& outs, int in, int examples, int context, int question, int repeats);

}  // namespace steerlab::bench
