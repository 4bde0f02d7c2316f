// bf16 matrix products on the tensor units by mma.sync (sm_80 and later): the fallback where cuBLASLt is missing, and its oracle.
//
// Tiles of x and W travel to shared memory by cp.async, four stages deep; ldmatrix hands them to mma.m16n8k16 with F32 sums. Every
// output element adds its products in the same order (k16 steps from 0) whatever the tile size, so a row's bits do not depend on
// how many rows are beside it. Shared rows are padded by 16 bytes: the eight rows of one ldmatrix fall in different banks.
#include "fragments.h"
#include "kernels.h"
#include "reduce.h"

namespace steerlab::gpu {
namespace {

constexpr int kDepth = 32;  // k per stage
constexpr int kStages = 4;
constexpr int kPad = 8;     // elements

struct Args {
  const bf16* x;
  const bf16* w;
  void* y;
  int n, cols, depth, ldx, ldw, ldy;
  bool accumulate, pairs;  // pairs: two neighbouring outputs may be stored with one access
};

// kRows x kCols outputs by kWarpRows x kWarpCols warps. kGradient: W lies (depth, cols) instead of (cols, depth).
template <int kRows_, int kCols_, int kWarpRows_, int kWarpCols_, bool kGradient_>
struct Shape {
  static constexpr int kRows = kRows_, kCols = kCols_, kWarpRows = kWarpRows_, kWarpCols = kWarpCols_;
  static constexpr bool kGradient = kGradient_;
  static constexpr int kThreads = 32 * kWarpRows * kWarpCols;
  static constexpr int kTileRows = kRows / kWarpRows, kTileCols = kCols / kWarpCols;  // of one warp
  static constexpr int kM = kTileRows / 16, kN = kTileCols / 8;                       // mma steps
  static constexpr int kStrideX = kDepth + kPad, kStrideW = kGradient ? kCols + kPad : kDepth + kPad;
  static constexpr int kStageX = kRows * kStrideX, kStageW = (kGradient ? kDepth : kCols) * kStrideW;
  static constexpr size_t kShared = sizeof(bf16) * kStages * (kStageX + kStageW);
};

// Chunks of 8 elements of a (rows, width) window at (row0, col0) of a matrix, zero outside it.
template <int kThreads, int kWindowRows, int kWindowCols, int kStride>
__device__ void load_window(bf16* shared, const bf16* matrix, int row0, int col0, int rows, int cols, int ld) {
  constexpr int kChunks = kWindowCols / 8;
  for (int i = threadIdx.x; i < kWindowRows * kChunks; i += kThreads) {
    const int r = i / kChunks, c = (i % kChunks) * 8;
    const bool inside = row0 + r < rows && col0 + c < cols;
    const bf16* from = inside ? matrix + static_cast<int64_t>(row0 + r) * ld + col0 + c : matrix;
    copy_async16(shared + r * kStride + c, from, inside ? 16 : 0);
  }
}

template <class S>
__device__ void load_stage(bf16* x, bf16* w, const Args& g, int row0, int col0, int k0) {
  load_window<S::kThreads, S::kRows, kDepth, S::kStrideX>(x, g.x, row0, k0, g.n, g.depth, g.ldx);
  if constexpr (S::kGradient)
    load_window<S::kThreads, kDepth, S::kCols, S::kStrideW>(w, g.w, k0, col0, g.depth, g.cols, g.ldw);
  else
    load_window<S::kThreads, S::kCols, kDepth, S::kStrideW>(w, g.w, col0, k0, g.cols, g.depth, g.ldw);
}

// One stage: sums += x tile (kTileRows, kDepth) times W tile, for the warp at (wr, wc) of the block.
template <class S>
__device__ void multiply_stage(float (&sums)[S::kM][S::kN][4], const bf16* x, const bf16* w, int wr, int wc) {
  const int lane = threadIdx.x % 32;
  for (int k = 0; k < kDepth; k += 16) {
    uint32_t a[S::kM][4], b[S::kN / 2][4];
#pragma unroll
    for (int i = 0; i < S::kM; ++i) {
      const TileIndex at = ldmatrix_a_row(lane);
      load_matrix4(a[i], x + (wr + i * 16 + at.row) * S::kStrideX + k + at.col);
    }
#pragma unroll
    for (int j = 0; j < S::kN / 2; ++j) {
      if constexpr (S::kGradient) {
        const TileIndex at = ldmatrix_b_row_transposed(lane);
        load_matrix4_transposed(b[j], w + (k + at.row) * S::kStrideW + wc + j * 16 + at.col);
      } else {
        const TileIndex at = ldmatrix_b_row(lane);
        load_matrix4(b[j], w + (wc + j * 16 + at.row) * S::kStrideW + k + at.col);
      }
    }
#pragma unroll
    for (int i = 0; i < S::kM; ++i)
#pragma unroll
      for (int j = 0; j < S::kN; ++j) mma_16816(sums[i][j], a[i], b[j / 2] + (j % 2) * 2);
  }
}

__device__ void store_pair(bf16* y, float v0, float v1) { *reinterpret_cast<uint32_t*>(y) = pack_bf16(v0, v1); }
__device__ void store_pair(float* y, float v0, float v1) {
  struct alignas(8) Pair {
    float a, b;
  };
  *reinterpret_cast<Pair*>(y) = {v0, v1};
}

template <class Y>
__device__ void store_outputs(const Args& g, int row, int col, float v0, float v1) {
  if (row >= g.n || col >= g.cols) return;
  Y* y = static_cast<Y*>(g.y) + static_cast<int64_t>(row) * g.ldy + col;
  const bool two = col + 1 < g.cols;
  if (g.accumulate) {
    v0 += widen(y[0]);
    if (two) v1 += widen(y[1]);
  }
  if (two && g.pairs) {
    store_pair(y, v0, v1);
    return;
  }
  y[0] = narrow<Y>(v0);
  if (two) y[1] = narrow<Y>(v1);
}

template <class S, class Y>
__global__ void __launch_bounds__(S::kThreads) gemm_kernel(Args g) {
  DYNAMIC_SHARED(memory);
  bf16* xs = reinterpret_cast<bf16*>(memory);
  bf16* ws = xs + kStages * S::kStageX;
  const int row0 = blockIdx.x * S::kRows, col0 = blockIdx.y * S::kCols;
  const int warp = threadIdx.x / 32, wr = (warp / S::kWarpCols) * S::kTileRows, wc = (warp % S::kWarpCols) * S::kTileCols;
  const int steps = (g.depth + kDepth - 1) / kDepth;
  float sums[S::kM][S::kN][4] = {};

  for (int i = 0; i < kStages - 1; ++i) {
    if (i < steps) load_stage<S>(xs + i * S::kStageX, ws + i * S::kStageW, g, row0, col0, i * kDepth);
    copy_async_commit();  // empty groups keep the count of pending ones equal to the stage number
  }
  for (int i = 0; i < steps; ++i) {
    copy_async_wait<kStages - 2>();
    __syncthreads();  // stage i has landed for all, and all are done with stage i - 1, which is loaded again next
    const int next = i + kStages - 1;
    if (next < steps)
      load_stage<S>(xs + (next % kStages) * S::kStageX, ws + (next % kStages) * S::kStageW, g, row0, col0, next * kDepth);
    copy_async_commit();
    multiply_stage<S>(sums, xs + (i % kStages) * S::kStageX, ws + (i % kStages) * S::kStageW, wr, wc);
  }

  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < S::kM; ++i)
#pragma unroll
    for (int j = 0; j < S::kN; ++j)
      for (int e = 0; e < 4; e += 2) {
        const TileIndex at = mma_c_index(lane, e);
        store_outputs<Y>(g, row0 + wr + i * 16 + at.row, col0 + wc + j * 8 + at.col, sums[i][j][e], sums[i][j][e + 1]);
      }
}

template <class S, class Y>
void run(cudaStream_t s, const Args& g) {
  LAUNCH(gemm_kernel<S, Y>, dim3(blocks_for(g.n, S::kRows), blocks_for(g.cols, S::kCols)), dim3(S::kThreads), S::kShared, s, g);
}

template <bool kGradient, class Y>
void run_for_rows(cudaStream_t s, const Args& g) {
  if (g.n <= 16) run<Shape<16, 64, 1, 4, kGradient>, Y>(s, g);
  else if (g.n <= 64) run<Shape<64, 64, 2, 2, kGradient>, Y>(s, g);
  else run<Shape<128, 128, 2, 4, kGradient>, Y>(s, g);
}

bool aligned16(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

}  // namespace

template <class Y>
bool mma_gemm(cudaStream_t s, const Gemm& g) {
  const bool fits = aligned16(g.x) && aligned16(g.w) && g.ldx % 8 == 0 && g.ldw % 8 == 0 && g.depth % 8 == 0 &&
                    (!g.input_gradient || g.cols % 8 == 0);
  if (!fits) return false;
  const bool pairs = g.ldy % 2 == 0 && reinterpret_cast<uintptr_t>(g.y) % (2 * sizeof(Y)) == 0;
  const Args args{static_cast<const bf16*>(g.x), static_cast<const bf16*>(g.w), g.y,      g.n,   g.cols, g.depth, g.ldx,
                  g.ldw,                         g.ldy,                         g.accumulate, pairs};
  if (g.input_gradient) run_for_rows<true, Y>(s, args);
  else run_for_rows<false, Y>(s, args);
  return true;
}

template bool mma_gemm<bf16>(cudaStream_t, const Gemm&);
template bool mma_gemm<float>(cudaStream_t, const Gemm&);

}  // namespace steerlab::gpu
