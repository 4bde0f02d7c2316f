// Adapter gradients: du = scaling dy B, dA += du^T dropout(x), dB += scaling dy^T u, dx = round(base + dropout'(du A)).
//
// Gradients of an adapter are formed example by example: the sum over one example's tokens first, all examples at once, then
// added to the total, in example order; a batch split into micro-batches therefore gives the same bits.
#include <type_traits>

#include "kernels.h"
#include "lora_mma.h"
#include "lora_tile.h"
#include "reduce.h"

namespace steerlab::gpu {
namespace {

template <class T>
__global__ void __launch_bounds__(kReduceThreads) du_kernel(LoraTasks tasks, GradientPointers out, const T* dy, int ldy, int n,
                                                              bool b_aligned) {
  const LoraTask& task = tasks.task[blockIdx.z];
  const int t0 = blockIdx.x * kTileTokens, j0 = blockIdx.y * kTileRank;
  if (j0 >= task.r) return;
  float sums[kTileTokens][kTileRank] = {};
  for (int o = threadIdx.x; o < task.out; o += kReduceThreads) {
    float d[kTileTokens];
#pragma unroll
    for (int i = 0; i < kTileTokens; ++i)
      d[i] = t0 + i < n ? widen(dy[static_cast<int64_t>(t0 + i) * ldy + task.y_col + o]) : 0.0f;
    const float* b = task.b + static_cast<int64_t>(o) * task.r + j0;
#pragma unroll
    for (int j = 0; j < kTileRank; j += 4) {
      if (j0 + j >= task.r) break;
      float weights[4];  // zeros beyond the rank
      load_quad(weights, b + j, task.r - j0 - j, b_aligned);
#pragma unroll
      for (int e = 0; e < 4; ++e)
#pragma unroll
        for (int i = 0; i < kTileTokens; ++i) sums[i][j + e] += d[i] * weights[e];
    }
  }
  float total;
  if (!reduce_tile(sums, total)) return;
  const int i = threadIdx.x / kTileRank, j = threadIdx.x % kTileRank;
  if (t0 + i < n && j0 + j < task.r)
    out.du[blockIdx.z][static_cast<int64_t>(t0 + i) * task.r + j0 + j] = task.scaling * total;
}

constexpr int kColumns = 128, kGradThreads = 128, kStep = 16;  // columns per block; tokens staged at a time

// partial[x] (column, j) = sum over the tokens of example x of wide[t][column] * narrow_[t][j], where wide is dropout(x) (kDown: dA)
// or dy (dB), and narrow_ is du or u. Block z: (task, example from `first_example`). Thread: 4 columns x 4 ranks.
template <class T, bool kDown>
__global__ void __launch_bounds__(kGradThreads)
    gradient_kernel(LoraTasks tasks, GradientPointers out, const T* wide, int ld, int in, DropoutKey key, const int32_t* offsets,
                    int first_example, int examples) {
  __shared__ float xs[kStep][kColumns];
  __shared__ float us[kStep][kTileRank];
  const int z = blockIdx.z / examples, x = first_example + blockIdx.z % examples;
  const LoraTask& task = tasks.task[z];
  const int width = kDown ? in : task.out, r = task.r, c0 = blockIdx.x * kColumns, j0 = blockIdx.y * kTileRank;
  if (!out.grad[z] || c0 >= width || j0 >= r) return;
  const float* narrow_ = kDown ? out.du[z] : task.u;
  const int quad = (threadIdx.x % 32) * 4, rank = (threadIdx.x / 32) * 4;
  const bool aligned = ld % 4 == 0 && reinterpret_cast<uintptr_t>(wide + (kDown ? 0 : task.y_col)) % (4 * sizeof(T)) == 0;
  float sums[4][4] = {};
  for (int first = offsets[x]; first < offsets[x + 1]; first += kStep) {
    const int count = min(kStep, offsets[x + 1] - first);
    __syncthreads();  // the last step's tiles are read
    for (int i = threadIdx.x; i < kStep * kColumns / 4; i += kGradThreads) {
      const int t = i / (kColumns / 4), c = (i % (kColumns / 4)) * 4;
      float v[4] = {};
      if (t < count && c0 + c < width) {
        load_quad(v, wide + static_cast<int64_t>(first + t) * ld + (kDown ? 0 : task.y_col) + c0 + c, width - c0 - c, aligned);
        if (kDown && task.dropout > 0.0f) apply_dropout(v, key, task.site, task.dropout, first + t, c0 + c);
      }
      for (int e = 0; e < 4; ++e) xs[t][c + e] = v[e];
    }
    for (int i = threadIdx.x; i < kStep * kTileRank; i += kGradThreads) {
      const int t = i / kTileRank, j = i % kTileRank;
      us[t][j] = t < count && j0 + j < r ? narrow_[static_cast<int64_t>(first + t) * r + j0 + j] : 0.0f;
    }
    __syncthreads();
    for (int t = 0; t < count; ++t)
      for (int e = 0; e < 4; ++e)
        for (int j = 0; j < 4; ++j) sums[e][j] += xs[t][quad + e] * us[t][rank + j];
  }
  float* partial = out.partial[z] + static_cast<int64_t>(x) * r * width;
  for (int e = 0; e < 4; ++e)
    for (int j = 0; j < 4; ++j) {
      const int c = c0 + quad + e, jj = j0 + rank + j;
      if (c >= width || jj >= r) continue;
      partial[kDown ? static_cast<int64_t>(jj) * in + c : static_cast<int64_t>(c) * r + jj] = sums[e][j];
    }
}

// grad += factor * partial[0] + factor * partial[1] + ..., one example after the other.
template <bool kDown>
__global__ void __launch_bounds__(kGradThreads) add_partials_kernel(LoraTasks tasks, GradientPointers out, int in, int examples) {
  const LoraTask& task = tasks.task[blockIdx.y];
  float* grad = out.grad[blockIdx.y];
  if (!grad) return;
  const float factor = kDown ? 1.0f : task.scaling;
  const int64_t count = static_cast<int64_t>(task.r) * (kDown ? in : task.out);
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kGradThreads + threadIdx.x; i < count; i += static_cast<int64_t>(gridDim.x) * kGradThreads) {
    float total = grad[i];
    for (int x = 0; x < examples; ++x) total += factor * out.partial[blockIdx.y][x * count + i];
    grad[i] = total;
  }
}

constexpr int kDxThreads = 128;

// Block: kTileTokens tokens x 4 kDxThreads columns; every task's du A is masked by that task's dropout, then added to the base.
template <class T>
__global__ void __launch_bounds__(kDxThreads) dx_kernel(LoraTasks tasks, GradientPointers from, T* dx, const float* base, int n, int in,
                                                        DropoutKey key, bool aligned, bool dx_aligned) {
  const int t0 = blockIdx.x * kTileTokens, k = (blockIdx.y * kDxThreads + threadIdx.x) * 4;
  if (k >= in) return;
  float sums[kTileTokens][4];
#pragma unroll
  for (int i = 0; i < kTileTokens; ++i) {
    for (int e = 0; e < 4; ++e) sums[i][e] = 0.0f;
    if (t0 + i < n) load_quad(sums[i], base + static_cast<int64_t>(t0 + i) * in + k, in - k, aligned);
  }
  for (int l = 0; l < tasks.count; ++l) {
    const LoraTask& task = tasks.task[l];
    const float* du = from.du[l] + static_cast<int64_t>(t0) * task.r;
    float part[kTileTokens][4] = {};
    for (int j = 0; j < task.r; ++j) {
      float a[4];
      load_quad(a, task.a + static_cast<int64_t>(j) * in + k, in - k, aligned);
#pragma unroll
      for (int i = 0; i < kTileTokens; ++i) {
        const float g = t0 + i < n ? du[i * task.r + j] : 0.0f;
#pragma unroll
        for (int e = 0; e < 4; ++e) part[i][e] += g * a[e];
      }
    }
#pragma unroll
    for (int i = 0; i < kTileTokens; ++i) {
      if (t0 + i >= n) break;
      if (task.dropout > 0.0f) apply_dropout(part[i], key, task.site, task.dropout, t0 + i, k);
      for (int e = 0; e < 4; ++e) sums[i][e] += part[i][e];
    }
  }
#pragma unroll
  for (int i = 0; i < kTileTokens; ++i)
    if (t0 + i < n) store_quad(dx + static_cast<int64_t>(t0 + i) * in + k, sums[i], in - k, dx_aligned);
}

int largest_rank(const LoraTasks& tasks) {
  int r = 0;
  for (int i = 0; i < tasks.count; ++i) r = std::max(r, tasks.task[i].r);
  return r;
}
int widest(const LoraTasks& tasks) {
  int out = 0;
  for (int i = 0; i < tasks.count; ++i) out = std::max(out, tasks.task[i].out);
  return out;
}
GradientPointers pointers(const LoraTasks& tasks, float* const* du) {
  GradientPointers p{};
  for (int i = 0; i < tasks.count; ++i) p.du[i] = du[i];
  return p;
}

// Elements of one example's partial gradient of a task: room for the larger of dA and dB.
size_t partial_elements(const LoraTask& task, int in) { return static_cast<size_t>(task.r) * std::max(in, task.out); }

template <class T, bool kDown>
void gradients(cudaStream_t s, const LoraTasks& tasks, GradientPointers p, float* const* grad, const T* wide, int ld, int in,
               const DropoutKey& key, const int32_t* example_offsets, int examples) {
  constexpr int kAtOnce = 65535 / kMaxLaunchUses;  // a grid is not deeper
  for (int i = 0; i < tasks.count; ++i) p.grad[i] = grad[i];
  const int width = kDown ? in : widest(tasks);
  for (int first = 0; first < examples; first += kAtOnce) {
    const int count = std::min(kAtOnce, examples - first);
    if constexpr (std::is_same_v<T, bf16>)
      if (tasks.matrix_units) {
        lora_partials_mma(s, tasks, p, kDown, wide, ld, in, key, example_offsets, first, count);
        continue;
      }
    LAUNCH(gradient_kernel<T, kDown>, dim3(blocks_for(width, kColumns), blocks_for(largest_rank(tasks), kTileRank), tasks.count * count),
           dim3(kGradThreads), 0, s, tasks, p, wide, ld, in, key, example_offsets, first, count);
  }
  const unsigned blocks = blocks_for(static_cast<size_t>(largest_rank(tasks)) * width, kGradThreads);
  LAUNCH(add_partials_kernel<kDown>, dim3(std::min(blocks, 2048u), tasks.count), dim3(kGradThreads), 0, s, tasks, p, in, examples);
}

}  // namespace

template <class T>
void lora_du(cudaStream_t s, const LoraTasks& tasks, float* const* du, const T* dy, int ldy, int n) {
  if constexpr (std::is_same_v<T, bf16>)
    if (tasks.matrix_units) return lora_du_mma(s, tasks, du, dy, ldy, n);
  bool b_aligned = true;
  for (int i = 0; i < tasks.count; ++i) b_aligned = b_aligned && quads_aligned(tasks.task[i].b, tasks.task[i].r);
  LAUNCH(du_kernel<T>, dim3(blocks_for(n, kTileTokens), blocks_for(largest_rank(tasks), kTileRank), tasks.count),
         dim3(kReduceThreads), 0, s, tasks, pointers(tasks, du), dy, ldy, n, b_aligned);
}

size_t lora_partials(const LoraTasks& tasks, int in, int examples) {
  size_t elements = 1;
  for (int i = 0; i < tasks.count; ++i) elements += partial_elements(tasks.task[i], in) * static_cast<size_t>(examples);
  return elements;
}

template <class T>
void lora_gradients(cudaStream_t s, const LoraTasks& tasks, float* const* du, float* const* da, float* const* db, float* partials,
                    const T* dy, int ldy, const T* x, int in, const DropoutKey& key, const int32_t* example_offsets, int examples) {
  GradientPointers p = pointers(tasks, du);
  for (int i = 0; i < tasks.count; ++i) {
    p.partial[i] = partials;
    partials += partial_elements(tasks.task[i], in) * static_cast<size_t>(examples);
  }
  gradients<T, true>(s, tasks, p, da, x, in, in, key, example_offsets, examples);
  gradients<T, false>(s, tasks, p, db, dy, ldy, in, key, example_offsets, examples);
}

template <class T>
void lora_dx(cudaStream_t s, const LoraTasks& tasks, float* const* du, T* dx, const float* base, int n, int in,
             const DropoutKey& key) {
  if constexpr (std::is_same_v<T, bf16>)
    if (tasks.matrix_units) return lora_dx_mma(s, tasks, du, dx, base, n, in, key);
  bool aligned = quads_aligned(base, in);
  for (int i = 0; i < tasks.count; ++i) aligned = aligned && quads_aligned(tasks.task[i].a, in);
  LAUNCH(dx_kernel<T>, dim3(blocks_for(n, kTileTokens), blocks_for(in, 4 * kDxThreads)), dim3(kDxThreads), 0, s, tasks,
         pointers(tasks, du), dx, base, n, in, key, aligned, quads_aligned(dx, in));
}

#define INSTANTIATE(T)                                                                                                         \
  template void lora_du(cudaStream_t, const LoraTasks&, float* const*, const T*, int, int);                                    \
  template void lora_gradients(cudaStream_t, const LoraTasks&, float* const*, float* const*, float* const*, float*, const T*,  \
                               int, const T*, int, const DropoutKey&, const int32_t*, int);                                    \
  template void lora_dx(cudaStream_t, const LoraTasks&, float* const*, T*, const float*, int, int, const DropoutKey&);
INSTANTIATE(bf16)
INSTANTIATE(float)
#undef INSTANTIATE

}  // namespace steerlab::gpu
