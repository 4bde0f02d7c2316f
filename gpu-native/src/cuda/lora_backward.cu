// Adapter gradients: du = scaling dy B, dA += du^T dropout(x), dB += scaling dy^T u, dx = round(base + dropout'(du A)).
//
// Gradients of an adapter are formed example by example: the sum over one example's tokens first, then added to the
// total, in example order; a batch split into micro-batches therefore gives the same bits.
#include "kernels.h"
#include "lora_tile.h"
#include "reduce.h"

namespace steerlab::gpu {
namespace {

struct Pointers {
  float* du[kMaxLaunchUses];
  float* grad[kMaxLaunchUses];  // dA or dB, may be null
};

template <class T>
__global__ void __launch_bounds__(kReduceThreads) du_kernel(LoraTasks tasks, Pointers out, const T* dy, int ldy, int n) {
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
    for (int j = 0; j < kTileRank; ++j) {
      if (j0 + j >= task.r) break;
      const float weight = b[j];
#pragma unroll
      for (int i = 0; i < kTileTokens; ++i) sums[i][j] += d[i] * weight;
    }
  }
  float total;
  if (!reduce_tile(sums, total)) return;
  const int i = threadIdx.x / kTileRank, j = threadIdx.x % kTileRank;
  if (t0 + i < n && j0 + j < task.r)
    out.du[blockIdx.z][static_cast<int64_t>(t0 + i) * task.r + j0 + j] = task.scaling * total;
}

constexpr int kColumns = 128, kGradThreads = 128, kStep = 16;  // columns per block; tokens staged at a time

// grad (column, j) += factor * sum over tokens of wide[t][column] * narrow_[t][j], where wide is dropout(x) (kDown: dA) or
// dy (dB), and narrow_ is du or u. Thread: 4 columns x 4 ranks.
template <class T, bool kDown>
__global__ void __launch_bounds__(kGradThreads)
    gradient_kernel(LoraTasks tasks, Pointers out, const T* wide, int ld, int in, DropoutKey key, const int32_t* offsets,
                    int examples) {
  __shared__ float xs[kStep][kColumns];
  __shared__ float us[kStep][kTileRank];
  const LoraTask& task = tasks.task[blockIdx.z];
  float* grad = out.grad[blockIdx.z];
  const int width = kDown ? in : task.out, r = task.r, c0 = blockIdx.x * kColumns, j0 = blockIdx.y * kTileRank;
  if (!grad || c0 >= width || j0 >= r) return;
  const float* narrow_ = kDown ? out.du[blockIdx.z] : task.u;
  const float factor = kDown ? 1.0f : task.scaling;
  const int quad = (threadIdx.x % 32) * 4, rank = (threadIdx.x / 32) * 4;
  const bool aligned = ld % 4 == 0 && reinterpret_cast<uintptr_t>(wide + (kDown ? 0 : task.y_col)) % (4 * sizeof(T)) == 0;
  float total[4][4];
  for (int e = 0; e < 4; ++e)
    for (int j = 0; j < 4; ++j) {
      const int c = c0 + quad + e, jj = j0 + rank + j;
      const int64_t at = kDown ? static_cast<int64_t>(jj) * in + c : static_cast<int64_t>(c) * r + jj;
      total[e][j] = c < width && jj < r ? grad[at] : 0.0f;
    }
  for (int x = 0; x < examples; ++x) {
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
    for (int e = 0; e < 4; ++e)
      for (int j = 0; j < 4; ++j) total[e][j] += factor * sums[e][j];
  }
  for (int e = 0; e < 4; ++e)
    for (int j = 0; j < 4; ++j) {
      const int c = c0 + quad + e, jj = j0 + rank + j;
      if (c >= width || jj >= r) continue;
      grad[kDown ? static_cast<int64_t>(jj) * in + c : static_cast<int64_t>(c) * r + jj] = total[e][j];
    }
}

constexpr int kDxThreads = 128;

// Block: kTileTokens tokens x 4 kDxThreads columns; every task's du A is masked by that task's dropout, then added to the base.
template <class T>
__global__ void __launch_bounds__(kDxThreads) dx_kernel(LoraTasks tasks, Pointers from, T* dx, const float* base, int n, int in,
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
Pointers pointers(const LoraTasks& tasks, float* const* du, float* const* grad) {
  Pointers p{};
  for (int i = 0; i < tasks.count; ++i) {
    p.du[i] = du[i];
    p.grad[i] = grad ? grad[i] : nullptr;
  }
  return p;
}

}  // namespace

template <class T>
void lora_du(cudaStream_t s, const LoraTasks& tasks, float* const* du, const T* dy, int ldy, int n) {
  launch(du_kernel<T>, dim3(blocks_for(n, kTileTokens), blocks_for(largest_rank(tasks), kTileRank), tasks.count),
         dim3(kReduceThreads), 0, s, tasks, pointers(tasks, du, nullptr), dy, ldy, n);
}

template <class T>
void lora_gradients(cudaStream_t s, const LoraTasks& tasks, float* const* du, float* const* da, float* const* db, const T* dy,
                    int ldy, const T* x, int in, const DropoutKey& key, const int32_t* example_offsets, int examples) {
  const unsigned ranks = blocks_for(largest_rank(tasks), kTileRank);
  launch(gradient_kernel<T, true>, dim3(blocks_for(in, kColumns), ranks, tasks.count), dim3(kGradThreads), 0, s, tasks,
         pointers(tasks, du, da), x, in, in, key, example_offsets, examples);
  launch(gradient_kernel<T, false>, dim3(blocks_for(widest(tasks), kColumns), ranks, tasks.count), dim3(kGradThreads), 0, s, tasks,
         pointers(tasks, du, db), dy, ldy, in, key, example_offsets, examples);
}

template <class T>
void lora_dx(cudaStream_t s, const LoraTasks& tasks, float* const* du, T* dx, const float* base, int n, int in,
             const DropoutKey& key) {
  bool aligned = quads_aligned(base, in);
  for (int i = 0; i < tasks.count; ++i) aligned = aligned && quads_aligned(tasks.task[i].a, in);
  launch(dx_kernel<T>, dim3(blocks_for(n, kTileTokens), blocks_for(in, 4 * kDxThreads)), dim3(kDxThreads), 0, s, tasks,
         pointers(tasks, du, nullptr), dx, base, n, in, key, aligned, quads_aligned(dx, in));
}

#define INSTANTIATE(T)                                                                                                         \
  template void lora_du(cudaStream_t, const LoraTasks&, float* const*, const T*, int, int);                                    \
  template void lora_gradients(cudaStream_t, const LoraTasks&, float* const*, float* const*, float* const*, const T*, int,     \
                               const T*, int, const DropoutKey&, const int32_t*, int);                                         \
  template void lora_dx(cudaStream_t, const LoraTasks&, float* const*, T*, const float*, int, int, const DropoutKey&);
INSTANTIATE(bf16)
INSTANTIATE(float)
#undef INSTANTIATE

}  // namespace steerlab::gpu
