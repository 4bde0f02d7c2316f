// Attention of one block at model size, forward over all tokens and backward over the questions, on a backend of its own.
#pragma once
#include <vector>

#include "backend.h"

namespace steerlab::bench {

struct AttentionWork {
  std::vector<float> out, dqkv;  // of the last run; out: of the questions
};

// `examples` contexts, each followed by its question, as the two segments of a training step; `repeats` times. Counters of `b` tell the
// time.
AttentionWork attention_work(Backend& b, HeadShape heads, int examples, int context, int question, int repeats);

}  // namespace steerlab::bench
