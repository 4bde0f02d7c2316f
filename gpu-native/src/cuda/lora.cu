// Adapters in the forward pass: u = dropout(x) A^T in F32, then y += scaling (u B^T + bias) after the base product was rounded (as PEFT).
//
// The kernels here run on the F32 units, exact to F32, for any type; bf16 goes to the matrix units (lora_mma.cu) unless that is switched
// off. Dropout words are drawn again wherever they are needed (rng.h); no mask is stored. Sums run in an order fixed by the shape alone.
#include <type_traits>

#include "kernels.h"
#include "lora_mma.h"
#include "lora_tile.h"
#include "reduce.h"

namespace steerlab::gpu {
namespace {

constexpr int kUpTokens = 8, kUpThreads = 256;

// Block: kTileTokens tokens x kTileRank rows of A. Threads stride over quads of k.
template <class T>
__global__ void __launch_bounds__(kReduceThreads)
    down_kernel(LoraTasks tasks, const T* x, int in, DropoutKey key, bool x_aligned, bool a_aligned) {
  const LoraTask& task = tasks.task[blockIdx.z];
  const int t0 = task.begin + blockIdx.x * kTileTokens, j0 = blockIdx.y * kTileRank;
  if (t0 >= task.end || j0 >= task.r) return;
  float sums[kTileTokens][kTileRank] = {};
  for (int k = threadIdx.x * 4; k < in; k += kReduceThreads * 4) {
    float v[kTileTokens][4];
#pragma unroll
    for (int i = 0; i < kTileTokens; ++i) {
      const int t = t0 + i;
      if (t >= task.end) {
        for (int e = 0; e < 4; ++e) v[i][e] = 0.0f;
        continue;
      }
      load_quad(v[i], x + static_cast<int64_t>(t) * in + k, in - k, x_aligned);
      if (task.dropout > 0.0f) apply_dropout(v[i], key, task.site, task.dropout, t, k);
    }
#pragma unroll
    for (int j = 0; j < kTileRank; ++j) {
      if (j0 + j >= task.r) break;
      float a[4];
      load_quad(a, task.a + static_cast<int64_t>(j0 + j) * in + k, in - k, a_aligned);
#pragma unroll
      for (int i = 0; i < kTileTokens; ++i)
#pragma unroll
        for (int e = 0; e < 4; ++e) sums[i][j] += v[i][e] * a[e];
    }
  }
  float total;
  if (!reduce_tile(sums, total)) return;
  const int i = threadIdx.x / kTileRank, j = threadIdx.x % kTileRank;
  if (t0 + i < task.end && j0 + j < task.r) task.u[static_cast<int64_t>(t0 - task.begin + i) * task.r + j0 + j] = total;
}

// Block: kUpTokens tokens x kUpThreads output columns. A column's row of B lies together: it is read by quads.
template <class T>
__global__ void __launch_bounds__(kUpThreads) up_kernel(LoraTasks tasks, T* y, int ldy, bool b_aligned) {
  const LoraTask& task = tasks.task[blockIdx.z];
  const int t0 = task.begin + blockIdx.x * kUpTokens, o = blockIdx.y * kUpThreads + threadIdx.x;
  if (t0 >= task.end || o >= task.out) return;
  const float* b = task.b + static_cast<int64_t>(o) * task.r;
  const float* u = task.u + static_cast<int64_t>(t0 - task.begin) * task.r;
  const float bias = task.bias ? task.bias[o] : 0.0f;
  float sums[kUpTokens];
#pragma unroll
  for (int i = 0; i < kUpTokens; ++i) sums[i] = bias;
  for (int j = 0; j < task.r; j += 4) {
    float weights[4];
    load_quad(weights, b + j, task.r - j, b_aligned);
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      if (j + e >= task.r) break;
#pragma unroll
      for (int i = 0; i < kUpTokens; ++i)
        if (t0 + i < task.end) sums[i] += u[i * task.r + j + e] * weights[e];
    }
  }
  for (int i = 0; i < kUpTokens && t0 + i < task.end; ++i) {
    T* at = y + static_cast<int64_t>(t0 + i) * ldy + task.y_col + o;
    *at = narrow<T>(widen(*at) + task.scaling * sums[i]);
  }
}

constexpr int kBiasThreads = 256;

template <class T>
__global__ void bias_kernel(BiasParts parts, const float* sum, int ldsum, T* y, int ldy, int n) {
  const auto& part = parts.part[blockIdx.z];
  const int o = blockIdx.y * kBiasThreads + threadIdx.x;
  if (o >= part.out) return;
  const float bias = part.bias ? part.bias[o] : 0.0f;
  for (int t = blockIdx.x; t < n; t += gridDim.x)
    y[static_cast<int64_t>(t) * ldy + part.col + o] =
        narrow<T>(sum[static_cast<int64_t>(t) * ldsum + part.col + o] + bias);
}

}  // namespace

template <class T>
void lora_down(cudaStream_t s, const LoraTasks& tasks, const T* x, int in, const DropoutKey& key) {
  if constexpr (std::is_same_v<T, bf16>)
    if (tasks.matrix_units) return lora_down_mma(s, tasks, x, in, key);
  int tokens = 0, rank = 0;
  bool a_aligned = true;
  for (int i = 0; i < tasks.count; ++i) {
    const LoraTask& t = tasks.task[i];
    tokens = std::max(tokens, t.end - t.begin);
    rank = std::max(rank, t.r);
    a_aligned = a_aligned && quads_aligned(t.a, in);
  }
  if (tokens == 0 || rank == 0) return;
  LAUNCH(down_kernel<T>, dim3(blocks_for(tokens, kTileTokens), blocks_for(rank, kTileRank), tasks.count), dim3(kReduceThreads), 0, s,
         tasks, x, in, key, quads_aligned(x, in), a_aligned);
}

template <class T>
void lora_up(cudaStream_t s, const LoraTasks& tasks, T* y, int ldy) {
  if constexpr (std::is_same_v<T, bf16>)
    if (tasks.matrix_units) return lora_up_mma(s, tasks, y, ldy);
  int tokens = 0, out = 0;
  bool b_aligned = true;
  for (int i = 0; i < tasks.count; ++i) {
    const LoraTask& t = tasks.task[i];
    tokens = std::max(tokens, t.end - t.begin);
    out = std::max(out, t.out);
    b_aligned = b_aligned && quads_aligned(t.b, t.r);
  }
  if (tokens == 0 || out == 0) return;
  LAUNCH(up_kernel<T>, dim3(blocks_for(tokens, kUpTokens), blocks_for(out, kUpThreads), tasks.count), dim3(kUpThreads), 0, s, tasks, y,
         ldy, b_aligned);
}

template <class T>
void add_bias(cudaStream_t s, const BiasParts& parts, const float* sum, int ldsum, T* y, int ldy, int n) {
  int out = 0;
  for (int i = 0; i < parts.count; ++i) out = std::max(out, parts.part[i].out);
  LAUNCH(bias_kernel<T>, dim3(n < 1024 ? n : 1024, blocks_for(out, kBiasThreads), parts.count), dim3(kBiasThreads), 0, s, parts, sum,
         ldsum, y, ldy, n);
}

#define INSTANTIATE(T)                                                                          \
  template void lora_down(cudaStream_t, const LoraTasks&, const T*, int, const DropoutKey&);    \
  template void lora_up(cudaStream_t, const LoraTasks&, T*, int);                               \
  template void add_bias(cudaStream_t, const BiasParts&, const float*, int, T*, int, int);
INSTANTIATE(bf16)
INSTANTIATE(float)
#undef INSTANTIATE

}  // namespace steerlab::gpu
