// Per-example gradients of adapters on the matrix units: partial (rank, column) = sum over an example's tokens of
// narrow[t][rank] * wide[t][column], where wide is dropout(x) for dA (then narrow is du), dy for dB (then it is u).
//
// Block: one example of one task, 128 columns, 16 ranks. 16 tokens at a time, counted from the example's first: its sums do not
// depend on where it lies in the batch.
#include "fragments.h"
#include "lora_mma.h"
#include "reduce.h"

namespace steerlab::gpu {
namespace {

constexpr int kColumns = 128, kRanks = 16, kStep = 16, kWarps = 4, kThreads = 32 * kWarps, kWarpColumns = kColumns / kWarps;
constexpr int kStride = kColumns + 8;

struct alignas(16) Tile {
  bf16 v[kStep][kStride];
};

struct Wide {
  const bf16* from;  // of the first column
  int ld, width;
  bool aligned;
};

template <bool kDown>
__device__ void stage(Tile& tile, const Wide& wide, const LoraTask& task, const DropoutKey& key, int first, int count, int c0) {
  constexpr int kQuads = kColumns / 4;
  for (int i = threadIdx.x; i < kStep * kQuads; i += kThreads) {
    const int t = i / kQuads, c = (i % kQuads) * 4, left = t < count ? wide.width - c0 - c : 0;
    float v[4];
    load_quad(v, wide.from + static_cast<int64_t>(first + t) * wide.ld + c0 + c, left, wide.aligned);
    if (kDown && left > 0 && task.dropout > 0.0f) drop(v, key, task.site, task.dropout, first + t, c0 + c);
    store_quad(&tile.v[t][c], v);
  }
}

// narrow^T (16 ranks, 16 tokens) as an A operand; zeros beyond the rank and the example.
__device__ void load_narrow(SplitRows& a, const float* narrow_, int r, int j0, int first, int count) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int half = 0; half < 2; ++half) {  // registers half and half + 2: one rank, two pairs of tokens
    float v[4];
    for (int e = 0; e < 4; ++e) {
      const TileIndex at = mma_a_index(lane, 2 * half + 4 * (e / 2) + e % 2);
      v[e] = at.col < count && j0 + at.row < r ? narrow_[static_cast<int64_t>(first + at.col) * r + j0 + at.row] : 0.0f;
    }
    set_row(a, half, split_quad(v));
  }
}

template <bool kDown>
__global__ void __launch_bounds__(kThreads)
    gradient_mma_kernel(LoraTasks tasks, GradientPointers out, const bf16* wide, int ld, int in, DropoutKey key, const int32_t* offsets,
                        int first_example, int examples) {
  __shared__ Tile tile;
  const int z = blockIdx.z / examples, x = first_example + blockIdx.z % examples;
  const LoraTask& task = tasks.task[z];
  const int width = kDown ? in : task.out, r = task.r, c0 = blockIdx.x * kColumns, j0 = blockIdx.y * kRanks;
  if (!out.grad[z] || c0 >= width || j0 >= r) return;
  const float* narrow_ = kDown ? out.du[z] : task.u;
  const bf16* from = wide + (kDown ? 0 : task.y_col);
  const Wide source{from, ld, width, ld % 4 == 0 && reinterpret_cast<uintptr_t>(from) % sizeof(Bf16Quad) == 0};
  const int lane = threadIdx.x % 32, mine = threadIdx.x / 32 * kWarpColumns;
  float sums[kWarpColumns / 8][4] = {};
  for (int first = offsets[x]; first < offsets[x + 1]; first += kStep) {
    const int count = min(kStep, offsets[x + 1] - first);
    __syncthreads();  // the last step's tile is read
    stage<kDown>(tile, source, task, key, first, count, c0);
    SplitRows a;
    load_narrow(a, narrow_, r, j0, first, count);
    __syncthreads();
    const TileIndex at = ldmatrix_b_row_transposed(lane);
#pragma unroll
    for (int n = 0; n < kWarpColumns / 16; ++n) {
      uint32_t b[4];
      load_matrix4_transposed(b, &tile.v[at.row][mine + n * 16 + at.col]);
#pragma unroll
      for (int h = 0; h < 2; ++h)
#pragma unroll
        for (int term = 0; term < kTerms; ++term) mma_16816(sums[2 * n + h], a.term[term], b + 2 * h);
    }
  }
  const float factor = kDown && task.dropout > 0.0f ? kept_factor(task.dropout) : 1.0f;
  float* partial = out.partial[z] + static_cast<int64_t>(x) * r * width;
#pragma unroll
  for (int n = 0; n < kWarpColumns / 8; ++n)
    for (int e = 0; e < 4; ++e) {
      const TileIndex at = mma_c_index(lane, e);
      const int j = j0 + at.row, c = c0 + mine + n * 8 + at.col;
      if (c >= width || j >= r) continue;
      partial[kDown ? static_cast<int64_t>(j) * in + c : static_cast<int64_t>(c) * r + j] = factor * sums[n][e];
    }
}

}  // namespace

void lora_partials_mma(cudaStream_t s, const LoraTasks& tasks, const GradientPointers& out, bool down, const bf16* wide, int ld, int in,
                       const DropoutKey& key, const int32_t* offsets, int first, int examples) {
  int width = down ? in : 0, rank = 0;
  for (int i = 0; i < tasks.count; ++i) {
    rank = std::max(rank, tasks.task[i].r);
    if (!down) width = std::max(width, tasks.task[i].out);
  }
  const dim3 grid(blocks_for(width, kColumns), blocks_for(rank, kRanks), tasks.count * examples);
  if (down) LAUNCH(gradient_mma_kernel<true>, grid, dim3(kThreads), 0, s, tasks, out, wide, ld, in, key, offsets, first, examples);
  else LAUNCH(gradient_mma_kernel<false>, grid, dim3(kThreads), 0, s, tasks, out, wide, ld, in, key, offsets, first, examples);
}

}  // namespace steerlab::gpu
