// Token-by-token copies and elementwise ops: embed, gather, scatter-add, to_f32, add, SwiGLU and its gradient.
// Memory-bound: four elements per thread, one access each where the row allows it.
#include "kernels.h"
#include "reduce.h"

namespace steerlab::gpu {
namespace {

constexpr int kThreads = 256;

// One block column of quads per row: element (row blockIdx.y .., quad blockIdx.x * kThreads + threadIdx.x).
dim3 row_grid(int n, int width) { return dim3(blocks_for(blocks_for(width, 4), kThreads), n < 65535 ? n : 65535); }

__device__ int first_column() { return static_cast<int>(blockIdx.x * kThreads + threadIdx.x) * 4; }

template <class T, class S>
__global__ void gather_kernel(T* dst, const S* src, const int32_t* index, int n, int width, bool aligned) {
  const int c = first_column();
  if (c >= width) return;
  for (int i = blockIdx.y; i < n; i += gridDim.y) {
    float v[4];
    load_quad(v, src + static_cast<int64_t>(index[i]) * width + c, width - c, aligned);
    store_quad(dst + static_cast<int64_t>(i) * width + c, v, width - c, aligned);
  }
}

// index may name a destination twice, so one thread walks all rows of its column quad, in order.
template <class T>
__global__ void scatter_add_kernel(T* dst, const T* src, const int32_t* index, int n, int width, bool aligned) {
  const int c = first_column();
  if (c >= width) return;
  for (int i = 0; i < n; ++i) {
    T* to = dst + static_cast<int64_t>(index[i]) * width + c;
    float a[4], b[4];
    load_quad(a, to, width - c, aligned);
    load_quad(b, src + static_cast<int64_t>(i) * width + c, width - c, aligned);
    for (int e = 0; e < 4; ++e) a[e] += b[e];
    store_quad(to, a, width - c, aligned);
  }
}

template <class T>
__global__ void to_f32_kernel(float* dst, const T* src, size_t count) {
  for (size_t i = size_t(blockIdx.x) * kThreads + threadIdx.x; i < count; i += size_t(gridDim.x) * kThreads)
    dst[i] = widen(src[i]);
}

template <class T>
__global__ void add_kernel(T* a, const T* b, size_t count, bool aligned) {
  for (size_t i = (size_t(blockIdx.x) * kThreads + threadIdx.x) * 4; i < count; i += size_t(gridDim.x) * kThreads * 4) {
    const int left = count - i < 4 ? static_cast<int>(count - i) : 4;
    float x[4], y[4];
    load_quad(x, a + i, left, aligned);
    load_quad(y, b + i, left, aligned);
    for (int e = 0; e < 4; ++e) x[e] += y[e];
    store_quad(a + i, x, left, aligned);
  }
}

template <class T>
__global__ void swiglu_kernel(T* out, const T* gu, int n, int F, bool aligned) {
  const int c = first_column();
  if (c >= F) return;
  for (int t = blockIdx.y; t < n; t += gridDim.y) {
    const T* gate = gu + static_cast<int64_t>(t) * 2 * F + c;
    float g[4], u[4], y[4];
    load_quad(g, gate, F - c, aligned);
    load_quad(u, gate + F, F - c, aligned);
    for (int e = 0; e < 4; ++e) y[e] = rounded<T>(g[e] / (1.0f + expf(-g[e]))) * u[e];
    store_quad(out + static_cast<int64_t>(t) * F + c, y, F - c, aligned);
  }
}

// With sg = sigmoid(gate): dgate = dout up sg (1 + gate (1 - sg)), dup = dout gate sg (rounded as forward rounds silu).
template <class T>
__global__ void swiglu_backward_kernel(T* dgu, const T* dout, const T* gu, int n, int F, bool aligned) {
  const int c = first_column();
  if (c >= F) return;
  for (int t = blockIdx.y; t < n; t += gridDim.y) {
    const int64_t at = static_cast<int64_t>(t) * 2 * F + c;
    float g[4], u[4], d[4], dg[4], du[4];
    load_quad(g, gu + at, F - c, aligned);
    load_quad(u, gu + at + F, F - c, aligned);
    load_quad(d, dout + static_cast<int64_t>(t) * F + c, F - c, aligned);
    for (int e = 0; e < 4; ++e) {
      const float sg = 1.0f / (1.0f + expf(-g[e]));
      dg[e] = d[e] * u[e] * sg * (1.0f + g[e] * (1.0f - sg));
      du[e] = d[e] * rounded<T>(g[e] * sg);
    }
    store_quad(dgu + at, dg, F - c, aligned);
    store_quad(dgu + at + F, du, F - c, aligned);
  }
}

unsigned flat_blocks(size_t count, size_t per) {
  const size_t blocks = (count + per - 1) / per;
  return static_cast<unsigned>(blocks < 4096 ? blocks : 4096);
}

}  // namespace

template <class T, class W>
void embed(cudaStream_t s, const Embed& op) {
  T* h = static_cast<T*>(op.h);
  const W* table = static_cast<const W*>(op.table.data);
  const int C = op.table.in;
  const bool aligned = quads_aligned(h, C) && quads_aligned(table, C);
  LAUNCH(gather_kernel<T, W>, row_grid(op.n, C), dim3(kThreads), 0, s, h, table, op.tokens, op.n, C, aligned);
}

template <class T>
void gather_rows(cudaStream_t s, const GatherRows& op) {
  T* dst = static_cast<T*>(op.dst);
  const T* src = static_cast<const T*>(op.src);
  const bool aligned = quads_aligned(dst, op.width) && quads_aligned(src, op.width);
  LAUNCH(gather_kernel<T, T>, row_grid(op.n, op.width), dim3(kThreads), 0, s, dst, src, op.index, op.n, op.width, aligned);
}

template <class T>
void scatter_add_rows(cudaStream_t s, const ScatterAddRows& op) {
  T* dst = static_cast<T*>(op.dst);
  const T* src = static_cast<const T*>(op.src);
  const bool aligned = quads_aligned(dst, op.width) && quads_aligned(src, op.width);
  LAUNCH(scatter_add_kernel<T>, row_grid(1, op.width), dim3(kThreads), 0, s, dst, src, op.index, op.n, op.width, aligned);
}

template <class T>
void to_f32(cudaStream_t s, const ToF32& op) {
  LAUNCH(to_f32_kernel<T>, dim3(flat_blocks(op.count, kThreads)), dim3(kThreads), 0, s, op.dst, static_cast<const T*>(op.src), op.count);
}

template <class T>
void add(cudaStream_t s, const Add& op) {
  T* a = static_cast<T*>(op.a);
  const T* b = static_cast<const T*>(op.b);
  const bool aligned = quads_aligned(a, 4) && quads_aligned(b, 4);
  LAUNCH(add_kernel<T>, dim3(flat_blocks(op.count, kThreads * 4)), dim3(kThreads), 0, s, a, b, op.count, aligned);
}

template <class T>
void swiglu(cudaStream_t s, const Swiglu& op) {
  T* out = static_cast<T*>(op.out);
  const T* gu = static_cast<const T*>(op.gu);
  const bool aligned = quads_aligned(out, op.F) && quads_aligned(gu, op.F);
  LAUNCH(swiglu_kernel<T>, row_grid(op.n, op.F), dim3(kThreads), 0, s, out, gu, op.n, op.F, aligned);
}

template <class T>
void swiglu_backward(cudaStream_t s, const SwigluBackward& op) {
  T* dgu = static_cast<T*>(op.dgu);
  const T *dout = static_cast<const T*>(op.dout), *gu = static_cast<const T*>(op.gu);
  const bool aligned = quads_aligned(dgu, op.F) && quads_aligned(gu, op.F) && quads_aligned(dout, op.F);
  LAUNCH(swiglu_backward_kernel<T>, row_grid(op.n, op.F), dim3(kThreads), 0, s, dgu, dout, gu, op.n, op.F, aligned);
}

template void embed<bf16, bf16>(cudaStream_t, const Embed&);
template void embed<float, bf16>(cudaStream_t, const Embed&);
template void embed<float, float>(cudaStream_t, const Embed&);
#define INSTANTIATE(T)                                                   \
  template void gather_rows<T>(cudaStream_t, const GatherRows&);         \
  template void scatter_add_rows<T>(cudaStream_t, const ScatterAddRows&); \
  template void to_f32<T>(cudaStream_t, const ToF32&);                   \
  template void add<T>(cudaStream_t, const Add&);                        \
  template void swiglu<T>(cudaStream_t, const Swiglu&);                  \
  template void swiglu_backward<T>(cudaStream_t, const SwigluBackward&);
INSTANTIATE(bf16)
INSTANTIATE(float)
#undef INSTANTIATE

}  // namespace steerlab::gpu
