// What attention and its gradient share on the matrix units: 16 rows of a block against tiles of 16 columns, four warps that share
// out the tiles.
//
// A warp takes tiles w, w + 4, ..., two stages of cp.async deep, and keeps its own sums; at the end the four are added in warp order. A
// tile holds two vectors of kD numbers per column (keys and values, or queries and gradients), the second kind kTile behind the first.
#pragma once
#include "fragments.h"
#include "kernels.h"
#include "reduce.h"
#include "segments.h"

namespace steerlab::gpu {

constexpr int kMmaRows = 16, kMmaColumns = 16, kMmaWarps = 4, kMmaThreads = 32 * kMmaWarps;

#if defined(__CUDACC__) || defined(STEERLAB_CUDA_EMULATION)

template <int kD>
struct MmaTiles {
  static constexpr int kStages = 2;
  static constexpr int kStride = kD + 8;                 // against bank conflicts
  static constexpr int kTile = kMmaColumns * kStride;    // one kind of vector of one tile
  static constexpr int kWarp = kStages * 2 * kTile;      // of one warp
  static constexpr size_t kShared = sizeof(bf16) * kMmaWarps * kWarp;
  static_assert(kShared >= sizeof(float) * kMmaWarps * kMmaRows * kD, "share_sums reuses the tiles");
};

__device__ __forceinline__ int tiles_of(int columns) { return (columns + kMmaColumns - 1) / kMmaColumns; }

// 16 bytes of a vector, zeros where there is none; memory whose address is not a multiple of 16 is copied by hand.
__device__ __forceinline__ void fetch(bf16* to, const bf16* from) {
  if (from != nullptr && reinterpret_cast<uintptr_t>(from) % 16 == 0) {
    copy_async16(to, from, 16);
    return;
  }
  for (int e = 0; e < 8; ++e) to[e] = from ? from[e] : bf16{0};
}

// The warp's share of two vectors, null for none: lane / 2 is the column, lane % 2 the half.
template <int kD>
__device__ __forceinline__ void fetch_pair(bf16* tile, const bf16* one, const bf16* other) {
  using L = MmaTiles<kD>;
  const int lane = threadIdx.x % 32, half = (lane % 2) * (kD / 2);
  bf16* to = tile + lane / 2 * L::kStride + half;
#pragma unroll
  for (int c = 0; c < kD / 2; c += 8) {
    fetch(to + c, one ? one + half + c : nullptr);
    fetch(to + L::kTile + c, other ? other + half + c : nullptr);
  }
}

// Keys and values of tile `tile` of a row's `keys`, for one KV head.
template <int kD>
__device__ __forceinline__ void fetch_keys(bf16* stage, const KvSegment* segments, int tile, int keys, int kv_heads, int kv_head) {
  const int key = tile * kMmaColumns + threadIdx.x % 32 / 2;
  const bf16 *k = nullptr, *v = nullptr;
  if (key < keys) {
    const KeyPlace at = locate_key(segments, key);
    const int64_t offset = (static_cast<int64_t>(at.offset) * kv_heads + kv_head) * kD;
    k = static_cast<const bf16*>(segments[at.segment].k) + offset;
    v = static_cast<const bf16*>(segments[at.segment].v) + offset;
  }
  fetch_pair<kD>(stage, k, v);
}

// The warp's tiles in order: load(stage, tile) starts the copies, use(stage, tile) finds them landed.
template <int kD, class Load, class Use>
__device__ __forceinline__ void walk_tiles(bf16* memory, int tiles, Load load, Use use) {
  using L = MmaTiles<kD>;
  const int warp = threadIdx.x / 32;
  bf16* stages = memory + warp * L::kWarp;
  if (warp < tiles) load(stages, warp);
  copy_async_commit();
  for (int i = 0, tile = warp; tile < tiles; ++i, tile += kMmaWarps) {
    if (tile + kMmaWarps < tiles) load(stages + ((i + 1) % L::kStages) * 2 * L::kTile, tile + kMmaWarps);
    copy_async_commit();
    copy_async_wait<1>();
    __syncwarp();  // every lane's part of the tile has landed
    use(stages + (i % L::kStages) * 2 * L::kTile, tile);
    __syncwarp();  // before the stage is loaded again
  }
  copy_async_wait<0>();
}

// Fragments of the block's rows straight from global memory: vector(i) of row i, null for none.
template <int kD, class Vector>
__device__ __forceinline__ void load_rows(uint32_t (&a)[kD / 16][4], Vector vector) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const bf16* from = vector(mma_a_index(lane, 2 * r).row);
#pragma unroll
    for (int k = 0; k < kD / 16; ++k)
#pragma unroll
      for (int c = 0; c < 2; ++c)
        a[k][r + 2 * c] = from ? *reinterpret_cast<const uint32_t*>(from + k * 16 + mma_a_index(lane, 2 * (r + 2 * c)).col) : 0u;
  }
}

// Fragments in registers, as multiply_tile takes them.
template <int kSteps>
__device__ __forceinline__ auto fragments_of(const uint32_t (&rows)[kSteps][4]) {
  return [&rows](uint32_t (&a)[4], int k) {
    for (int e = 0; e < 4; ++e) a[e] = rows[k][e];
  };
}

// dots (rows, columns) += rows . columns; rows(a, k) gives the fragment of dimensions 16 k .. 16 k + 15.
template <int kD, class Rows>
__device__ __forceinline__ void multiply_tile(float (&dots)[2][4], Rows rows, const bf16* columns) {
  const TileIndex at = ldmatrix_b_row(threadIdx.x % 32);
#pragma unroll
  for (int k = 0; k < kD / 16; ++k) {
    uint32_t a[4], b[4];
    rows(a, k);
    load_matrix4(b, columns + at.row * MmaTiles<kD>::kStride + k * 16 + at.col);
    mma_16816(dots[0], a, b);
    mma_16816(dots[1], a, b + 2);
  }
}

// sums (rows, kD) += weights . columns. The weights, fragments as multiply_tile leaves them, enter as hi + lo bf16 pairs, so that the
// result is as exact as the F32 kernel's.
template <int kD>
__device__ __forceinline__ void add_weighted(float (&sums)[kD / 8][4], const float (&weights)[2][4], const bf16* columns) {
  // result fragments are the A fragment of the next product: registers (row half) + 2 (column half)
  uint32_t high[4], low[4];
#pragma unroll
  for (int reg = 0; reg < 4; ++reg) {
    const float p0 = weights[reg / 2][2 * (reg % 2)], p1 = weights[reg / 2][2 * (reg % 2) + 1];
    high[reg] = pack_bf16(p0, p1);
    low[reg] = pack_bf16(p0 - rounded<bf16>(p0), p1 - rounded<bf16>(p1));
  }
  const TileIndex at = ldmatrix_b_row_transposed(threadIdx.x % 32);
#pragma unroll
  for (int n = 0; n < kD / 16; ++n) {
    uint32_t b[4];
    load_matrix4_transposed(b, columns + at.row * MmaTiles<kD>::kStride + n * 16 + at.col);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      mma_16816(sums[2 * n + h], high, b + 2 * h);
      mma_16816(sums[2 * n + h], low, b + 2 * h);
    }
  }
}

// Lays the warps' sums out as (warp, row, kD) in the tiles' memory, once all are done with it; read them after a __syncthreads.
template <int kD>
__device__ __forceinline__ void share_sums(const float (&sums)[kD / 8][4], float* memory) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  __syncthreads();
#pragma unroll
  for (int n = 0; n < kD / 8; ++n)
    for (int e = 0; e < 4; ++e) {
      const TileIndex at = mma_c_index(lane, e);
      memory[(warp * kMmaRows + at.row) * kD + n * 8 + at.col] = sums[n][e];
    }
}

// The four warps' sums of a row, each times its weight, in order: dimensions d .. d + 3.
template <int kD>
__device__ __forceinline__ void sum_of_warps(float (&v)[4], const float* memory, int row, int d, const float (&weight)[kMmaWarps]) {
  for (int e = 0; e < 4; ++e) v[e] = 0.0f;
  for (int w = 0; w < kMmaWarps; ++w) {
    float part[4];
    load_quad(part, memory + (w * kMmaRows + row) * kD + d);
    for (int e = 0; e < 4; ++e) v[e] += weight[w] * part[e];
  }
}

#endif

// Calls f with the head width as a compile-time constant; false for one that the tiles do not serve.
template <class F>
bool with_mma_width(int D, F f) {
  switch (D) {
    case 16: f(std::integral_constant<int, 16>()); return true;
    case 32: f(std::integral_constant<int, 32>()); return true;
    case 64: f(std::integral_constant<int, 64>()); return true;
    case 128: f(std::integral_constant<int, 128>()); return true;
    default: return false;
  }
}

}  // namespace steerlab::gpu
