// The losses over the vocabulary, and the gradient of the head with respect to its input.
//
// Losses: one block per row, two passes over its logits (maximum, then sum of exponentials), a third writes the
// gradient. Sums per thread in F32, across threads in double, in a fixed order.
#include "kernels.h"
#include "reduce.h"

namespace steerlab::gpu {
namespace {

constexpr int kLossThreads = 1024;

// Of one row, by all threads of the block; most: its largest element.
__device__ double log_sum_exp_of(const float* row, int V, float& most, float* scratch, double* scratch64) {
  most = -INFINITY;
  for (int c = threadIdx.x; c < V; c += kLossThreads) most = fmaxf(most, row[c]);
  most = block_max(most, scratch);
  float sum = 0.0f;
  for (int c = threadIdx.x; c < V; c += kLossThreads) sum += expf(row[c] - most);
  return most + log(block_sum(static_cast<double>(sum), scratch64));
}

// d loss / d l_j = (softmax over the pair - 1 for the target, labels only) + mass_weight (p_j - pair softmax, labels only).
__global__ void __launch_bounds__(kLossThreads)
    loss_kernel(LabelResult* out, float* dlogits, const float* logits, const int32_t* labels, const int32_t* targets,
                const double* scales, float mass_weight, int V) {
  __shared__ float scratch[32];
  __shared__ double scratch64[32];
  const int i = blockIdx.x;
  const double scale = scales[i];
  const float* row = logits + static_cast<int64_t>(i) * V;
  float most;
  const double lse = log_sum_exp_of(row, V, most, scratch, scratch64);

  const int a = labels[2 * i], b = labels[2 * i + 1], target = targets[i];
  const double la = row[a], lb = row[b];
  const double top = la > lb ? la : lb;
  const double pair = top + log(exp(la - top) + exp(lb - top));  // log sum exp of the two labels
  const double pa = exp(la - pair), pb = exp(lb - pair);
  __syncthreads();  // dlogits may be logits: everyone has read the labels
  if (dlogits) {
    float* d = dlogits + static_cast<int64_t>(i) * V;
    const float flse = static_cast<float>(lse - most), factor = static_cast<float>(scale * mass_weight);
    for (int c = threadIdx.x; c < V; c += kLossThreads) {
      if (c == a || c == b) {
        const double own = c == a ? pa : pb, hit = (c == a) == (target == 0) ? 1.0 : 0.0;
        const double p = exp((c == a ? la : lb) - lse);
        d[c] = static_cast<float>(scale * (own - hit + mass_weight * (p - own)));
      } else {
        d[c] = mass_weight == 0.0f ? 0.0f : factor * expf((row[c] - most) - flse);
      }
    }
  }
  if (threadIdx.x != 0) return;
  LabelResult r;
  r.logprob[0] = la - lse;
  r.logprob[1] = lb - lse;
  r.logmass = pair - lse;
  r.loss = pair - (target == 0 ? la : lb) - mass_weight * r.logmass;
  out[i] = r;
}

__global__ void __launch_bounds__(kLossThreads)
    match_kernel(double* out, float* dlogits, const float* logits, const float* base, const double* scales, int V) {
  __shared__ float scratch[32];
  __shared__ double scratch64[32];
  const int64_t at = static_cast<int64_t>(blockIdx.x) * V;
  const float *l = logits + at, *b = base + at;
  float most_l, most_b;
  const double lse_l = log_sum_exp_of(l, V, most_l, scratch, scratch64), lse_b = log_sum_exp_of(b, V, most_b, scratch, scratch64);
  const float rest_l = static_cast<float>(lse_l - most_l), rest_b = static_cast<float>(lse_b - most_b);
  const float shift = static_cast<float>(lse_l - lse_b), factor = static_cast<float>(scales[blockIdx.x]);
  float sum = 0.0f;
  for (int c = threadIdx.x; c < V; c += kLossThreads) {
    const float p = expf((b[c] - most_b) - rest_b), q = expf((l[c] - most_l) - rest_l);
    sum += p * ((b[c] - l[c]) + shift);
    if (dlogits) dlogits[at + c] = factor * (q - p);  // may be l: this thread has read it
  }
  const double total = block_sum(static_cast<double>(sum), scratch64);
  if (threadIdx.x == 0) out[blockIdx.x] = total;
}

constexpr int kThreads = 128;

template <class T, class W>
__global__ void labels_kernel(T* dx, const float* dlogits, const W* head, const int32_t* labels, int V, int C) {
  const int i = blockIdx.x, a = labels[2 * i], b = labels[2 * i + 1];
  const float da = dlogits[static_cast<int64_t>(i) * V + a], db = dlogits[static_cast<int64_t>(i) * V + b];
  for (int c = blockIdx.y * kThreads + threadIdx.x; c < C; c += gridDim.y * kThreads)
    dx[static_cast<int64_t>(i) * C + c] =
        narrow<T>(da * widen(head[static_cast<int64_t>(a) * C + c]) + db * widen(head[static_cast<int64_t>(b) * C + c]));
}

constexpr int kChunk = 2048, kExamples = 8;  // vocabulary rows per partial sum; examples that share a read of the head

// partial[chunk][i][c] = sum over the chunk's rows v of dlogits[i][v] head[v][c].
template <class W>
__global__ void __launch_bounds__(kThreads)
    partial_kernel(float* partial, const float* dlogits, const W* head, int n, int V, int C) {
  __shared__ float d[kExamples][64];
  const int c = blockIdx.x * kThreads + threadIdx.x, first = blockIdx.z * kExamples;
  const int begin = blockIdx.y * kChunk, end = min(V, begin + kChunk);
  float sums[kExamples] = {};
  for (int v0 = begin; v0 < end; v0 += 64) {
    __syncthreads();
    for (int j = threadIdx.x; j < kExamples * 64; j += kThreads) {
      const int i = first + j / 64, v = v0 + j % 64;
      d[j / 64][j % 64] = i < n && v < end ? dlogits[static_cast<int64_t>(i) * V + v] : 0.0f;
    }
    __syncthreads();
    if (c >= C) continue;
    for (int v = v0; v < min(end, v0 + 64); ++v) {
      const float w = widen(head[static_cast<int64_t>(v) * C + c]);
#pragma unroll
      for (int i = 0; i < kExamples; ++i) sums[i] += d[i][v - v0] * w;
    }
  }
  if (c >= C) return;
  for (int i = 0; i < kExamples && first + i < n; ++i)
    partial[(static_cast<int64_t>(blockIdx.y) * n + first + i) * C + c] = sums[i];
}

template <class T>
__global__ void finish_kernel(T* dx, const float* partial, int chunks, int n, int C) {
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < static_cast<int64_t>(n) * C;
       i += static_cast<int64_t>(gridDim.x) * kThreads) {
    float sum = 0.0f;
    for (int k = 0; k < chunks; ++k) sum += partial[static_cast<int64_t>(k) * n * C + i];
    dx[i] = narrow<T>(sum);
  }
}

}  // namespace

void label_loss(cudaStream_t s, LabelResult* out, const LabelLoss& op) {
  LAUNCH(loss_kernel, dim3(op.n), dim3(kLossThreads), 0, s, out, static_cast<float*>(op.dlogits), static_cast<const float*>(op.logits),
         op.labels, op.targets, op.scale, op.mass_weight, op.V);
}

void match_loss(cudaStream_t s, double* out, const MatchLoss& op) {
  LAUNCH(match_kernel, dim3(op.n), dim3(kLossThreads), 0, s, out, static_cast<float*>(op.dlogits), static_cast<const float*>(op.logits),
         static_cast<const float*>(op.base), op.scale, op.V);
}

template <class T, class W>
void logits_backward_labels(cudaStream_t s, T* dx, const float* dlogits, const W* head, const int32_t* labels, int n, int V,
                            int C) {
  LAUNCH(labels_kernel<T, W>, dim3(n, blocks_for(C, kThreads)), dim3(kThreads), 0, s, dx, dlogits, head, labels, V, C);
}

int logits_backward_chunks(int V) { return (V + kChunk - 1) / kChunk; }

template <class T, class W>
void logits_backward_full(cudaStream_t s, T* dx, float* partial, const float* dlogits, const W* head, int n, int V, int C) {
  const int chunks = logits_backward_chunks(V);
  LAUNCH(partial_kernel<W>, dim3(blocks_for(C, kThreads), chunks, blocks_for(n, kExamples)), dim3(kThreads), 0, s, partial, dlogits,
         head, n, V, C);
  LAUNCH(finish_kernel<T>, dim3(std::min(4096u, blocks_for(static_cast<size_t>(n) * C, kThreads))), dim3(kThreads), 0, s, dx, partial,
         chunks, n, C);
}

#define INSTANTIATE(T, W)                                                                                               \
  template void logits_backward_labels(cudaStream_t, T*, const float*, const W*, const int32_t*, int, int, int);        \
  template void logits_backward_full(cudaStream_t, T*, float*, const float*, const W*, int, int, int);
INSTANTIATE(bf16, bf16)
INSTANTIATE(float, bf16)
INSTANTIATE(float, float)
#undef INSTANTIATE

}  // namespace steerlab::gpu
