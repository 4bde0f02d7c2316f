// Rotary positions: q in place, rotated k and plain v into the cache slots; and the inverse rotation for gradients.
// One block per token, one thread per (head, pair): (a, b) -> (a cos - b sin, b cos + a sin) on elements i and i + D/2.
#include "kernels.h"
#include "reduce.h"

namespace steerlab::gpu {
namespace {

constexpr int kThreads = 256;

// bf16 rounds cos, sin, each product and the sum, as transformers' elementwise code does.
template <class T>
__device__ void rotate(float& a, float& b, float cos, float sin) {
  const float c = rounded<T>(cos), s = rounded<T>(sin), x = a, y = b;
  a = rounded<T>(x * c) - rounded<T>(y * s);
  b = rounded<T>(y * c) + rounded<T>(x * s);
}

template <class T>
__global__ void rope_store_kernel(T* qkv, T* k_new, T* v_new, const float* cos, const float* sin, const int32_t* positions,
                                  const int32_t* slot, HeadShape s) {
  const int t = blockIdx.x, half = s.D / 2, kv_width = s.KVH * s.D;
  T* row = qkv + static_cast<int64_t>(t) * (s.H + 2 * s.KVH) * s.D;
  const int64_t angle = static_cast<int64_t>(positions[t]) * half;
  const int64_t to = static_cast<int64_t>(slot ? slot[t] : t) * kv_width;
  for (int i = threadIdx.x; i < (s.H + s.KVH) * half; i += kThreads) {
    const int head = i / half, pair = i % half;
    const T* in = row + head * s.D + pair;
    float a = widen(in[0]), b = widen(in[half]);
    rotate<T>(a, b, cos[angle + pair], sin[angle + pair]);
    T* out = head < s.H ? row + head * s.D + pair : k_new + to + (head - s.H) * s.D + pair;
    out[0] = narrow<T>(a);
    out[half] = narrow<T>(b);
  }
  const T* v = row + (s.H + s.KVH) * s.D;
  for (int i = threadIdx.x; i < kv_width; i += kThreads) v_new[to + i] = v[i];
}

template <class T>
__global__ void rope_backward_kernel(T* dqkv, const float* cos, const float* sin, const int32_t* positions, HeadShape s) {
  const int t = blockIdx.x, half = s.D / 2;
  T* row = dqkv + static_cast<int64_t>(t) * (s.H + 2 * s.KVH) * s.D;
  const int64_t angle = static_cast<int64_t>(positions[t]) * half;
  for (int i = threadIdx.x; i < (s.H + s.KVH) * half; i += kThreads) {
    T* at = row + (i / half) * s.D + i % half;
    float a = widen(at[0]), b = widen(at[half]);
    rotate<T>(a, b, cos[angle + i % half], -sin[angle + i % half]);
    at[0] = narrow<T>(a);
    at[half] = narrow<T>(b);
  }
}

}  // namespace

template <class T>
void rope_store(cudaStream_t s, const RopeStore& op) {
  LAUNCH(rope_store_kernel<T>, dim3(op.n), dim3(kThreads), 0, s, static_cast<T*>(op.qkv), static_cast<T*>(op.k_new),
         static_cast<T*>(op.v_new), op.cos, op.sin, op.positions, op.slot, op.heads);
}

template <class T>
void rope_backward(cudaStream_t s, const RopeBackward& op) {
  LAUNCH(rope_backward_kernel<T>, dim3(op.n), dim3(kThreads), 0, s, static_cast<T*>(op.dqkv), op.cos, op.sin, op.positions, op.heads);
}

#define INSTANTIATE(T)                                         \
  template void rope_store<T>(cudaStream_t, const RopeStore&); \
  template void rope_backward<T>(cudaStream_t, const RopeBackward&);
INSTANTIATE(bf16)
INSTANTIATE(float)
#undef INSTANTIATE

}  // namespace steerlab::gpu
