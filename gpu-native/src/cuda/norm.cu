// residual_norm: residual add, steering and RMS norm in one pass over a token; and the norm's gradient.
// One block per token; the row stays in shared memory as F32 between the passes, so global memory is read and written once.
#include "kernels.h"
#include "reduce.h"

namespace steerlab::gpu {
namespace {

constexpr int kThreads = 256;

// steer without token_row: no steering.
template <class T>
__global__ void __launch_bounds__(kThreads)
    residual_norm_kernel(T* h, const T* delta, SteerTable steer, int layer, T* x, const float* weight, float eps, int C, bool aligned) {
  DYNAMIC_SHARED(memory);
  float* row = reinterpret_cast<float*>(memory);  // (C)
  __shared__ float scratch[32];
  const int t = blockIdx.x;
  const int64_t at = static_cast<int64_t>(t) * C;
  const int first = steer.token_row ? steer.row_offsets[steer.token_row[t]] : 0;
  const int last = steer.token_row ? steer.row_offsets[steer.token_row[t] + 1] : 0;
  float squares = 0.0f;
  for (int c = threadIdx.x * 4; c < C; c += kThreads * 4) {
    const int left = C - c;
    float v[4];
    load_quad(v, h + at + c, left, aligned);
    bool changed = false;
    if (delta) {
      float d[4];
      load_quad(d, delta + at + c, left, aligned);
      for (int e = 0; e < 4; ++e) v[e] = rounded<T>(v[e] + d[e]);
      changed = true;
    }
    for (int i = first; i < last; ++i) {
      const SteerEntry s = steer.entries[i];
      if (s.magnitude == 0.0f || layer < s.layer_start || layer >= s.layer_end || t < s.token_begin || t >= s.token_end)
        continue;
      const float* vector = steer.vectors + static_cast<int64_t>(s.vector) * C + c;
      for (int e = 0; e < 4; ++e)
        if (e < left) v[e] = rounded<T>(v[e] + rounded<T>(s.magnitude * vector[e]));
      changed = true;
    }
    if (changed) store_quad(h + at + c, v, left, aligned);
    for (int e = 0; e < 4; ++e)
      if (e < left) {
        row[c + e] = v[e];
        squares += v[e] * v[e];
      }
  }
  if (!x) return;
  const float inverse = 1.0f / sqrtf(block_sum(squares, scratch) / C + eps);
  // each thread reads back only what it wrote: no barrier is needed for `row`
  for (int c = threadIdx.x * 4; c < C; c += kThreads * 4) {
    float y[4];
    for (int e = 0; e < 4; ++e) y[e] = e < C - c ? rounded<T>(row[c + e] * inverse) * weight[c + e] : 0.0f;
    store_quad(x + at + c, y, C - c, aligned);
  }
}

// With s = 1 / sqrt(mean(h^2) + eps) and g = weight dx: dh += s g - h s^3 mean(g h).
template <class T>
__global__ void __launch_bounds__(kThreads)
    norm_backward_kernel(T* dh, const T* dx, const T* h, const float* weight, float eps, int C, bool aligned) {
  __shared__ float scratch[32];
  const int64_t at = static_cast<int64_t>(blockIdx.x) * C;
  float squares = 0.0f, along = 0.0f;
  for (int c = threadIdx.x * 4; c < C; c += kThreads * 4) {
    float v[4], g[4];
    load_quad(v, h + at + c, C - c, aligned);
    load_quad(g, dx + at + c, C - c, aligned);
    for (int e = 0; e < 4; ++e)
      if (e < C - c) {
        squares += v[e] * v[e];
        along += v[e] * g[e] * weight[c + e];
      }
  }
  squares = block_sum(squares, scratch);
  along = block_sum(along, scratch);
  const float s = 1.0f / sqrtf(squares / C + eps), pull = s * s * s * along / C;
  for (int c = threadIdx.x * 4; c < C; c += kThreads * 4) {
    float v[4], g[4], d[4];
    load_quad(v, h + at + c, C - c, aligned);
    load_quad(g, dx + at + c, C - c, aligned);
    load_quad(d, dh + at + c, C - c, aligned);
    for (int e = 0; e < 4; ++e)
      if (e < C - c) d[e] += s * weight[c + e] * g[e] - pull * v[e];
    store_quad(dh + at + c, d, C - c, aligned);
  }
}

}  // namespace

template <class T>
void residual_norm(cudaStream_t s, const ResidualNorm& op) {
  T *h = static_cast<T*>(op.h), *x = static_cast<T*>(op.x);
  const T* delta = static_cast<const T*>(op.delta);
  const SteerTable steer = op.steer ? *op.steer : SteerTable{};
  const bool aligned = quads_aligned(h, op.C) && (!delta || quads_aligned(delta, op.C)) && (!x || quads_aligned(x, op.C));
  LAUNCH(residual_norm_kernel<T>, dim3(op.n), dim3(kThreads), sizeof(float) * op.C, s, h, delta, steer, op.layer, x, op.weight, op.eps,
         op.C, aligned);
}

template <class T>
void norm_backward(cudaStream_t s, const NormBackward& op) {
  T* dh = static_cast<T*>(op.dh);
  const T *dx = static_cast<const T*>(op.dx), *h = static_cast<const T*>(op.h);
  const bool aligned = quads_aligned(dh, op.C) && quads_aligned(dx, op.C) && quads_aligned(h, op.C);
  LAUNCH(norm_backward_kernel<T>, dim3(op.n), dim3(kThreads), 0, s, dh, dx, h, op.weight, op.eps, op.C, aligned);
}

#define INSTANTIATE(T)                                               \
  template void residual_norm<T>(cudaStream_t, const ResidualNorm&); \
  template void norm_backward<T>(cudaStream_t, const NormBackward&);
INSTANTIATE(bf16)
INSTANTIATE(float)
#undef INSTANTIATE

}  // namespace steerlab::gpu
