// The bf16 attention on the matrix units; attention.cu falls back to its F32 kernel where this one declines.
#pragma once
#include "kernels.h"

namespace steerlab::gpu {

// Returns false, doing nothing, when the head width or an alignment does not suit. Semantics of ops.h's Attention.
bool attention_mma(cudaStream_t s, const Attention& op);

}  // namespace steerlab::gpu
