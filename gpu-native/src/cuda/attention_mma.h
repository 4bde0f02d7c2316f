// The bf16 attention and its gradient on the matrix units; attention.cu and attention_backward.cu fall back to their F32 kernels where
// these decline.
#pragma once
#include "kernels.h"

namespace steerlab::gpu {

// Returns false, doing nothing, when the head width or an alignment does not suit. Semantics of ops.h's Attention.
bool attention_mma(cudaStream_t s, const Attention& op);
// delta (total_q, H): sum over d of dout * out. dqkv is zero where no row's own tokens lie.
bool attention_backward_mma(cudaStream_t s, const AttentionBackward& op, const float* delta);

}  // namespace steerlab::gpu
