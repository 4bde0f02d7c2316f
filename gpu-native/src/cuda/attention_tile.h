// The F32 tile steps that attention and its gradient are made of: 16 rows against 32 columns, 128 threads.
//
// Rows and columns are vectors of D numbers in shared memory as F32, padded to kD with zeros and by 4 floats against bank
// conflicts. dot_tile: thread (r = tid / 16, c = tid % 16) forms the products of rows r, r + 8 with columns c, c + 16 (or c alone:
// a tile of 16 columns, where 32 would not fit into a block's shared memory).
// weighted_sum: thread (row = tid / 8, part = tid % 8) owns dimensions part * 4 + 32 i .. + 3 of one row.
#pragma once
#include "kernels.h"
#include "segments.h"

namespace steerlab::gpu {

constexpr int kRowTile = 16, kColTile = 32, kAttentionThreads = 128, kScoreStride = kColTile + 1;

#if defined(__CUDACC__) || defined(STEERLAB_CUDA_EMULATION)

template <int kD>
struct VectorTile {
  static constexpr int kStride = kD + 4;
  float* data;
  __device__ float* row(int r) const { return data + r * kStride; }
};

// Fills row r with factor * from[0 .. D), or zeros when from is null. 8 threads (part 0..7) share a row.
template <int kD, class T>
__device__ __forceinline__ void load_vector(const VectorTile<kD>& tile, int r, int part, const T* from, int D, float factor) {
  for (int d = part * 4; d < kD; d += 32) {
    float v[4] = {};
    if (from && d < D) {
      load_quad(v, from + d, D - d, D % 4 == 0 && reinterpret_cast<uintptr_t>(from) % (4 * sizeof(T)) == 0);
      for (int e = 0; e < 4; ++e) v[e] *= factor;
    }
    store_quad(tile.row(r) + d, v);
  }
}

template <int kD, int kJ>
__device__ __forceinline__ void dot_tile(float (&out)[2][kJ], const VectorTile<kD>& rows, const VectorTile<kD>& cols) {
  const int r = threadIdx.x / 16, c = threadIdx.x % 16;
  for (int i = 0; i < 2; ++i)
    for (int j = 0; j < kJ; ++j) out[i][j] = 0.0f;
  for (int d = 0; d < kD; d += 4) {
    float a[2][4], b[kJ][4];
    for (int i = 0; i < 2; ++i) load_quad(a[i], rows.row(r + 8 * i) + d);
    for (int j = 0; j < kJ; ++j) load_quad(b[j], cols.row(c + 16 * j) + d);
    for (int i = 0; i < 2; ++i)
      for (int j = 0; j < kJ; ++j)
        for (int e = 0; e < 4; ++e) out[i][j] += a[i][e] * b[j][e];
  }
}

// sums[i][e] += weight[row][c] * cols[c][part * 4 + 32 i + e] over the columns.
template <int kD, int kCols = kColTile>
__device__ __forceinline__ void weighted_sum(float (&sums)[kD / 32][4], const float* weight, const VectorTile<kD>& cols) {
  const int row = threadIdx.x / 8, part = threadIdx.x % 8;
  for (int c = 0; c < kCols; ++c) {
    const float w = weight[row * kScoreStride + c];
#pragma unroll
    for (int i = 0; i < kD / 32; ++i) {
      float v[4];
      load_quad(v, cols.row(c) + part * 4 + 32 * i);
      for (int e = 0; e < 4; ++e) sums[i][e] += w * v[e];
    }
  }
}

template <int kD, class T>
__device__ __forceinline__ void store_vector(T* to, const float (&sums)[kD / 32][4], int part, int D, float factor) {
  const bool aligned = D % 4 == 0 && reinterpret_cast<uintptr_t>(to) % (4 * sizeof(T)) == 0;
#pragma unroll
  for (int i = 0; i < kD / 32; ++i) {
    const int d = part * 4 + 32 * i;
    if (d >= D) break;
    float v[4];
    for (int e = 0; e < 4; ++e) v[e] = sums[i][e] * factor;
    store_quad(to + d, v, D - d, aligned);
  }
}

#endif

// Calls f with the tile width that holds D, as a compile-time constant.
template <class F>
void with_head_width(int D, F f) {
  if (D <= 32) f(std::integral_constant<int, 32>());
  else if (D <= 64) f(std::integral_constant<int, 64>());
  else if (D <= 128) f(std::integral_constant<int, 128>());
  else if (D <= 256) f(std::integral_constant<int, 256>());
  else
    throw Error("head-width", "Expected head_dim <= 256 for the CUDA attention but received " + std::to_string(D) +
                                  ". Use the cpu backend for this model.");
}

}  // namespace steerlab::gpu
