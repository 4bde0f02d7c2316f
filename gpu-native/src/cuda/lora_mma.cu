// u, du: rows of bf16 against a narrow F32 matrix, summed over a wide k. y, dx: narrow F32 rows against a wide F32 matrix.
//
// 16 tokens per block in all four. Sums over k run over 16 warps, each taking every 16th step of 16, then over the warps in order:
// an order fixed by the shape alone, so a row's bits do not depend on the rows beside it.
#include "lora_mma.h"

#include "fragments.h"
#include "lora_tile.h"
#include "reduce.h"

namespace steerlab::gpu {
namespace {

constexpr int kTokens = 16, kRanks = 16, kStep = 16;

// ---- sums over a wide k ----
constexpr int kWideWarps = 16, kWideThreads = 32 * kWideWarps;

// sums (16, 16) of the warp += rows x matrix. row(token 0 .. 15, k, v), matrix(rank 0 .. 15, k, v) give quads, zeros outside.
template <class Row, class Matrix>
__device__ void multiply_wide(float (&sums)[2][4], int width, Row row, Matrix matrix) {
  const int lane = threadIdx.x % 32;
#pragma unroll 2
  for (int k0 = threadIdx.x / 32 * kStep; k0 < width; k0 += kWideWarps * kStep) {
    const int k = k0 + (lane % 4) * 4;
    uint32_t a[4];
    for (int half = 0; half < 2; ++half) {
      float v[4];
      row(lane / 4 + 8 * half, k, v);
      a[half] = pack_bf16(v[0], v[1]);
      a[half + 2] = pack_bf16(v[2], v[3]);
    }
    for (int tile = 0; tile < 2; ++tile) {
      float v[4];
      matrix(lane / 4 + 8 * tile, k, v);
      const SplitQuad b = split_quad(v);
#pragma unroll
      for (int term = 0; term < kTerms; ++term) mma_16816(sums[tile], a, b.term[term]);
    }
  }
}

// Adds up the warps' sums in order. Thread i * 16 + j < 256 receives the total of (i, j) and true.
__device__ bool total_of_warps(const float (&sums)[2][4], float& total) {
  __shared__ float parts[kWideWarps][kTokens * kRanks];
  const int lane = threadIdx.x % 32;
  for (int tile = 0; tile < 2; ++tile)
    for (int e = 0; e < 4; ++e) {
      const TileIndex at = mma_c_index(lane, e);
      parts[threadIdx.x / 32][at.row * kRanks + tile * 8 + at.col] = sums[tile][e];
    }
  __syncthreads();
  if (threadIdx.x >= kTokens * kRanks) return false;
  total = 0.0f;
  for (int w = 0; w < kWideWarps; ++w) total += parts[w][threadIdx.x];
  return true;
}

// Block: (tokens, ranks, task).
__global__ void __launch_bounds__(kWideThreads)
    down_mma_kernel(LoraTasks tasks, const bf16* x, int in, DropoutKey key, bool x_aligned, bool a_aligned) {
  const LoraTask& task = tasks.task[blockIdx.z];
  const int t0 = task.begin + blockIdx.x * kTokens, j0 = blockIdx.y * kRanks;
  if (t0 >= task.end || j0 >= task.r) return;
  float sums[2][4] = {};
  multiply_wide(
      sums, in,
      [&](int i, int k, float v[4]) {
        const int t = t0 + i, left = t < task.end ? in - k : 0;
        load_quad(v, x + static_cast<int64_t>(t) * in + k, left, x_aligned);
        if (left > 0 && task.dropout > 0.0f) drop(v, key, task.site, task.dropout, t, k);
      },
      [&](int j, int k, float v[4]) {
        load_quad(v, task.a + static_cast<int64_t>(j0 + j) * in + k, j0 + j < task.r ? in - k : 0, a_aligned);
      });
  float total;
  if (!total_of_warps(sums, total)) return;
  const int t = t0 + threadIdx.x / kRanks, j = j0 + threadIdx.x % kRanks;
  if (t < task.end && j < task.r)
    task.u[static_cast<int64_t>(t - task.begin) * task.r + j] = task.dropout > 0.0f ? kept_factor(task.dropout) * total : total;
}

struct Narrow {
  float* du[kMaxLaunchUses];
};

__global__ void __launch_bounds__(kWideThreads) du_mma_kernel(LoraTasks tasks, Narrow out, const bf16* dy, int ldy, int n) {
  const LoraTask& task = tasks.task[blockIdx.z];
  const int t0 = blockIdx.x * kTokens, j0 = blockIdx.y * kRanks;
  if (j0 >= task.r) return;
  const bf16* from = dy + task.y_col;
  const bool aligned = ldy % 4 == 0 && reinterpret_cast<uintptr_t>(from) % sizeof(Bf16Quad) == 0;
  float sums[2][4] = {};
  multiply_wide(
      sums, task.out,
      [&](int i, int o, float v[4]) {
        load_quad(v, from + static_cast<int64_t>(t0 + i) * ldy + o, t0 + i < n ? task.out - o : 0, aligned);
      },
      [&](int j, int o, float v[4]) {  // eight lanes read 32 neighbouring bytes of a row of B
        for (int e = 0; e < 4; ++e)
          v[e] = j0 + j < task.r && o + e < task.out ? task.b[static_cast<int64_t>(o + e) * task.r + j0 + j] : 0.0f;
      });
  float total;
  if (!total_of_warps(sums, total)) return;
  const int t = t0 + threadIdx.x / kRanks, j = j0 + threadIdx.x % kRanks;
  if (t < n && j < task.r) out.du[blockIdx.z][static_cast<int64_t>(t) * task.r + j] = task.scaling * total;
}

// ---- narrow rows against a wide matrix ----
constexpr int kNarrowWarps = 4, kNarrowThreads = 32 * kNarrowWarps, kGroups = 2;
constexpr int kWarpColumns = 16 * kGroups, kBlockColumns = kNarrowWarps * kWarpColumns;

// out[group][half]: columns 16 group + 4 (lane % 4) .. + 3 of token lane / 4 + 8 half, summed over j. row(token, j, v),
// matrix(column 0 .. 31, j, v) give quads along j, zeros outside.
template <class Row, class Matrix>
__device__ void multiply_narrow(float (&out)[kGroups][2][4], int r, Row row, Matrix matrix) {
  const int lane = threadIdx.x % 32;
  float sums[kGroups][2][4] = {};
  for (int j0 = 0; j0 < r; j0 += kStep) {
    const int j = j0 + (lane % 4) * 4;
    float v[4];
    SplitRows a;
    for (int half = 0; half < 2; ++half) {
      row(lane / 4 + 8 * half, j, v);
      set_row(a, half, split_quad(v));
    }
#pragma unroll
    for (int g = 0; g < kGroups; ++g)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        matrix(16 * g + paired_column(lane, h), j, v);
        const SplitQuad b = split_quad(v);
        mma_16816(sums[g][h], a.term[0], b.term[0]);
        mma_16816(sums[g][h], a.term[1], b.term[0]);
        mma_16816(sums[g][h], a.term[0], b.term[1]);
      }
  }
#pragma unroll
  for (int g = 0; g < kGroups; ++g)
    for (int half = 0; half < 2; ++half)
      for (int i = 0; i < 4; ++i) out[g][half][i] = sums[g][i / 2][2 * half + i % 2];
}

// Block: (tokens, columns of y, task).
__global__ void __launch_bounds__(kNarrowThreads) up_mma_kernel(LoraTasks tasks, bf16* y, int ldy) {
  const LoraTask& task = tasks.task[blockIdx.z];
  const int lane = threadIdx.x % 32, t0 = task.begin + blockIdx.x * kTokens;
  const int c0 = blockIdx.y * kBlockColumns + threadIdx.x / 32 * kWarpColumns;
  if (t0 >= task.end || c0 >= task.out) return;  // the whole warp
  const bool u_aligned = task.r % 4 == 0 && reinterpret_cast<uintptr_t>(task.u) % sizeof(FloatQuad) == 0;
  const bool b_aligned = task.r % 4 == 0 && reinterpret_cast<uintptr_t>(task.b) % sizeof(FloatQuad) == 0;
  const bool y_aligned = ldy % 4 == 0 && reinterpret_cast<uintptr_t>(y + task.y_col) % sizeof(Bf16Quad) == 0;
  float sums[kGroups][2][4];
  multiply_narrow(
      sums, task.r,
      [&](int i, int j, float v[4]) {
        load_quad(v, task.u + static_cast<int64_t>(t0 - task.begin + i) * task.r + j, t0 + i < task.end ? task.r - j : 0, u_aligned);
      },
      [&](int c, int j, float v[4]) {
        load_quad(v, task.b + static_cast<int64_t>(c0 + c) * task.r + j, c0 + c < task.out ? task.r - j : 0, b_aligned);
      });
#pragma unroll
  for (int g = 0; g < kGroups; ++g) {
    const int o = c0 + 16 * g + (lane % 4) * 4, left = task.out - o;
    if (left <= 0) break;
    for (int half = 0; half < 2; ++half) {
      const int t = t0 + lane / 4 + 8 * half;
      if (t >= task.end) break;
      bf16* at = y + static_cast<int64_t>(t) * ldy + task.y_col + o;
      float v[4];
      load_quad(v, at, left, y_aligned);
      for (int e = 0; e < 4; ++e) {
        const float bias = task.bias && e < left ? task.bias[o + e] : 0.0f;
        v[e] += task.scaling * (sums[g][half][e] + bias);
      }
      store_quad(at, v, left, y_aligned);
    }
  }
}

// Block: (tokens, columns of dx); every task's du A is masked by that task's dropout, then added to the base.
__global__ void __launch_bounds__(kNarrowThreads) dx_mma_kernel(LoraTasks tasks, Narrow from, bf16* dx, const float* base, int n, int in,
                                                                DropoutKey key, bool aligned, bool dx_aligned) {
  const int lane = threadIdx.x % 32, t0 = blockIdx.x * kTokens, c0 = blockIdx.y * kBlockColumns + threadIdx.x / 32 * kWarpColumns;
  if (c0 >= in) return;
  float sums[kGroups][2][4];
#pragma unroll
  for (int g = 0; g < kGroups; ++g)
    for (int half = 0; half < 2; ++half) {
      const int t = t0 + lane / 4 + 8 * half, k = c0 + 16 * g + (lane % 4) * 4;
      load_quad(sums[g][half], base + static_cast<int64_t>(t) * in + k, t < n ? in - k : 0, aligned);
    }
  for (int l = 0; l < tasks.count; ++l) {
    const LoraTask& task = tasks.task[l];
    const float* du = from.du[l];
    const bool du_aligned = task.r % 4 == 0 && reinterpret_cast<uintptr_t>(du) % sizeof(FloatQuad) == 0;
    float part[kGroups][2][4];
    multiply_narrow(
        part, task.r,
        [&](int i, int j, float v[4]) {
          load_quad(v, du + static_cast<int64_t>(t0 + i) * task.r + j, t0 + i < n ? task.r - j : 0, du_aligned);
        },
        [&](int c, int j, float v[4]) {
          for (int e = 0; e < 4; ++e)
            v[e] = c0 + c < in && j + e < task.r ? task.a[static_cast<int64_t>(j + e) * in + c0 + c] : 0.0f;
        });
#pragma unroll
    for (int g = 0; g < kGroups; ++g)
      for (int half = 0; half < 2; ++half) {
        const int t = t0 + lane / 4 + 8 * half, k = c0 + 16 * g + (lane % 4) * 4;
        if (t < n && k < in && task.dropout > 0.0f) apply_dropout(part[g][half], key, task.site, task.dropout, t, k);
        for (int e = 0; e < 4; ++e) sums[g][half][e] += part[g][half][e];
      }
  }
#pragma unroll
  for (int g = 0; g < kGroups; ++g)
    for (int half = 0; half < 2; ++half) {
      const int t = t0 + lane / 4 + 8 * half, k = c0 + 16 * g + (lane % 4) * 4;
      if (t < n && k < in) store_quad(dx + static_cast<int64_t>(t) * in + k, sums[g][half], in - k, dx_aligned);
    }
}

struct Extent {
  int tokens = 0, rank = 0, out = 0;
  bool a_aligned = true;
};
Extent extent_of(const LoraTasks& tasks, int in) {
  Extent e;
  for (int i = 0; i < tasks.count; ++i) {
    const LoraTask& t = tasks.task[i];
    e.tokens = std::max(e.tokens, t.end - t.begin);
    e.rank = std::max(e.rank, t.r);
    e.out = std::max(e.out, t.out);
    e.a_aligned = e.a_aligned && quads_aligned(t.a, in);
  }
  return e;
}
Narrow narrow_rows(const LoraTasks& tasks, float* const* du) {
  Narrow rows{};
  for (int i = 0; i < tasks.count; ++i) rows.du[i] = du[i];
  return rows;
}

}  // namespace

void lora_down_mma(cudaStream_t s, const LoraTasks& tasks, const bf16* x, int in, const DropoutKey& key) {
  const Extent e = extent_of(tasks, in);
  if (e.tokens == 0 || e.rank == 0) return;
  LAUNCH(down_mma_kernel, dim3(blocks_for(e.tokens, kTokens), blocks_for(e.rank, kRanks), tasks.count), dim3(kWideThreads), 0, s, tasks, x,
         in, key, quads_aligned(x, in), e.a_aligned);
}

void lora_up_mma(cudaStream_t s, const LoraTasks& tasks, bf16* y, int ldy) {
  const Extent e = extent_of(tasks, 0);
  if (e.tokens == 0 || e.out == 0) return;
  LAUNCH(up_mma_kernel, dim3(blocks_for(e.tokens, kTokens), blocks_for(e.out, kBlockColumns), tasks.count), dim3(kNarrowThreads), 0, s, tasks,
         y, ldy);
}

void lora_du_mma(cudaStream_t s, const LoraTasks& tasks, float* const* du, const bf16* dy, int ldy, int n) {
  LAUNCH(du_mma_kernel, dim3(blocks_for(n, kTokens), blocks_for(extent_of(tasks, 0).rank, kRanks), tasks.count), dim3(kWideThreads), 0, s,
         tasks, narrow_rows(tasks, du), dy, ldy, n);
}

void lora_dx_mma(cudaStream_t s, const LoraTasks& tasks, float* const* du, bf16* dx, const float* base, int n, int in,
                 const DropoutKey& key) {
  const bool aligned = quads_aligned(base, in), dx_aligned = quads_aligned(dx, in);
  LAUNCH(dx_mma_kernel, dim3(blocks_for(n, kTokens), blocks_for(in, kBlockColumns)), dim3(kNarrowThreads), 0, s, tasks,
         narrow_rows(tasks, du), dx, base, n, in, key, aligned, dx_aligned);
}

}  // namespace steerlab::gpu
