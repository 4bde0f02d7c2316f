// Matrix products in plain F32 arithmetic, any mix of bf16 and F32, any shape and alignment.
//
// The whole of the F32 mode, and the odd shapes that mma_gemm refuses. 64 x 64 outputs per block, 4 x 4 per thread, 16 deep;
// every output adds its products from k = 0 upwards, so rows do not depend on their neighbours. Not meant to be fast.
#include "kernels.h"
#include "reduce.h"

namespace steerlab::gpu {
namespace {

constexpr int kTile = 64, kDepth = 16, kThreads = 256;

template <class X, class W, class Y>
__global__ void __launch_bounds__(kThreads) tile_kernel(Gemm g) {
  __shared__ float xs[kDepth][kTile + 4], ws[kDepth][kTile + 4];
  const X* x = static_cast<const X*>(g.x);
  const W* w = static_cast<const W*>(g.w);
  const int row0 = blockIdx.x * kTile, col0 = blockIdx.y * kTile;
  const int tr = (threadIdx.x / 16) * 4, tc = (threadIdx.x % 16) * 4;
  float sums[4][4] = {};
  for (int k0 = 0; k0 < g.depth; k0 += kDepth) {
    for (int i = threadIdx.x; i < kTile * kDepth; i += kThreads) {
      const int r = i / kDepth, k = i % kDepth;
      xs[k][r] = row0 + r < g.n && k0 + k < g.depth ? widen(x[static_cast<int64_t>(row0 + r) * g.ldx + k0 + k]) : 0.0f;
      // neighbours in memory go to neighbouring threads in both layouts
      const int wk = g.input_gradient ? i / kTile : k, c = g.input_gradient ? i % kTile : r;
      const int64_t at = g.input_gradient ? static_cast<int64_t>(k0 + wk) * g.ldw + col0 + c
                                          : static_cast<int64_t>(col0 + c) * g.ldw + k0 + wk;
      ws[wk][c] = col0 + c < g.cols && k0 + wk < g.depth ? widen(w[at]) : 0.0f;
    }
    __syncthreads();
    for (int k = 0; k < kDepth; ++k) {
      float a[4], b[4];
      for (int i = 0; i < 4; ++i) {
        a[i] = xs[k][tr + i];
        b[i] = ws[k][tc + i];
      }
      for (int i = 0; i < 4; ++i)
        for (int j = 0; j < 4; ++j) sums[i][j] += a[i] * b[j];
    }
    __syncthreads();
  }
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j) {
      if (row0 + tr + i >= g.n || col0 + tc + j >= g.cols) continue;
      Y* y = static_cast<Y*>(g.y) + static_cast<int64_t>(row0 + tr + i) * g.ldy + col0 + tc + j;
      *y = narrow<Y>(g.accumulate ? widen(*y) + sums[i][j] : sums[i][j]);
    }
}

}  // namespace

template <class X, class W, class Y>
void tile_gemm(cudaStream_t s, const Gemm& g) {
  LAUNCH(tile_kernel<X, W, Y>, dim3(blocks_for(g.n, kTile), blocks_for(g.cols, kTile)), dim3(kThreads), 0, s, g);
}

template void tile_gemm<float, float, float>(cudaStream_t, const Gemm&);
template void tile_gemm<float, bf16, float>(cudaStream_t, const Gemm&);
template void tile_gemm<bf16, bf16, bf16>(cudaStream_t, const Gemm&);
template void tile_gemm<bf16, bf16, float>(cudaStream_t, const Gemm&);

}  // namespace steerlab::gpu
