// Sums and maxima over a block, always in the same order: lanes by butterfly, then warps by butterfly.
#pragma once
#include "platform.h"

namespace steerlab::gpu {

#if defined(__CUDACC__) || defined(STEERLAB_CUDA_EMULATION)

// Every lane ends with the same bits: the butterfly adds the same pairs on both sides.
template <class S>
__device__ __forceinline__ S warp_sum(S v) {
  for (int mask = 16; mask > 0; mask >>= 1) v += shuffle_xor(v, mask);
  return v;
}
__device__ __forceinline__ float warp_max(float v) {
  for (int mask = 16; mask > 0; mask >>= 1) v = fmaxf(v, shuffle_xor(v, mask));
  return v;
}

// Sum over the block, given to every thread. `scratch` (32) shared; blockDim.x a multiple of 32. Ends with a barrier.
template <class S>
__device__ __forceinline__ S block_sum(S v, S* scratch) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  v = warp_sum(v);
  if (lane == 0) scratch[warp] = v;
  __syncthreads();
  v = warp_sum(lane < warps ? scratch[lane] : S(0));
  __syncthreads();
  return v;
}
__device__ __forceinline__ float block_max(float v, float* scratch) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  v = warp_max(v);
  if (lane == 0) scratch[warp] = v;
  __syncthreads();
  v = warp_max(lane < warps ? scratch[lane] : -INFINITY);
  __syncthreads();
  return v;
}

#endif

// Blocks needed for `count` things, `per` each.
inline unsigned blocks_for(size_t count, size_t per) { return static_cast<unsigned>((count + per - 1) / per); }

}  // namespace steerlab::gpu
