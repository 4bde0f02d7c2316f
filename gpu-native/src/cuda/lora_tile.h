// What the adapter kernels share: replayed dropout, and the sum of an 8 x 16 register tile over all threads of a block.
#pragma once
#include "kernels.h"

namespace steerlab::gpu {

constexpr int kTileTokens = 8, kTileRank = 16;
constexpr int kReduceThreads = 256;

// Memory of each task's gradients.
struct GradientPointers {
  float* du[kMaxLaunchUses];
  float* grad[kMaxLaunchUses];  // dA or dB, may be null
  float* partial[kMaxLaunchUses];  // per example, as grad
};

#if defined(__CUDACC__) || defined(STEERLAB_CUDA_EMULATION)

// What the elements that dropout leaves are multiplied by.
__device__ __forceinline__ float kept_factor(float p) { return 1.0f / (1.0f - p); }

// v[e] = 0 where dropout strikes, for columns k .. k + 3 (k a multiple of 4) of token t; the rest is left as it is.
__device__ __forceinline__ void drop(float v[4], const DropoutKey& key, uint32_t site, float p, int t, int k) {
  const Philox4 words = dropout_words(key.seed, key.step, site, static_cast<uint32_t>(key.token_example[t]),
                                      static_cast<uint32_t>(key.token_position[t]), static_cast<uint32_t>(k / 4));
  const uint32_t threshold = dropout_threshold(p);
#pragma unroll
  for (int e = 0; e < 4; ++e) v[e] = words.w[e] < threshold ? 0.0f : v[e];
}
__device__ __forceinline__ void apply_dropout(float v[4], const DropoutKey& key, uint32_t site, float p, int t, int k) {
  drop(v, key, site, p, t, k);
  const float factor = kept_factor(p);
#pragma unroll
  for (int e = 0; e < 4; ++e) v[e] *= factor;
}

// Sums the tile over the block's threads. Thread i * 16 + j < 128 receives the total of (i, j) and true; others false.
// Lane l of every warp first ends with the warp's totals of elements 4 l .. 4 l + 3 by exchanging halves, then warps add up
// in order. All threads of the block must call it.
__device__ __forceinline__ bool reduce_tile(float (&tile)[kTileTokens][kTileRank], float& total) {
  __shared__ float warp_sums[kReduceThreads / 32][kTileTokens * kTileRank];
  float* v = &tile[0][0];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
  for (int step = 0; step < 5; ++step) {
    const int half = 64 >> step, mask = 16 >> step;  // elements kept after this step; partner lane
    const bool upper = lane & mask;
#pragma unroll
    for (int i = 0; i < 64; ++i) {
      if (i >= half) break;
      const float give = upper ? v[i] : v[i + half], keep = upper ? v[i + half] : v[i];
      v[i] = keep + shuffle_xor(give, mask);
    }
  }
#pragma unroll
  for (int e = 0; e < 4; ++e) warp_sums[warp][lane * 4 + e] = v[e];
  __syncthreads();
  if (threadIdx.x >= kTileTokens * kTileRank) return false;
  total = 0.0f;
  for (int w = 0; w < kReduceThreads / 32; ++w) total += warp_sums[w][threadIdx.x];
  return true;
}

#endif

}  // namespace steerlab::gpu
