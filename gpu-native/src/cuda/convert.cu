// Checkpoint numbers to stored numbers on the device, and random weights of a given shape.
// Both backends draw the same random matrix up to the last bit or two of log, cos and sin.
#include "kernels.h"
#include "reduce.h"

namespace steerlab::gpu {
namespace {

constexpr int kThreads = 256;

__device__ float element(const void* src, DType from, size_t i) {
  switch (from) {
    case DType::F64: return static_cast<float>(static_cast<const double*>(src)[i]);
    case DType::F32: return static_cast<const float*>(src)[i];
    case DType::BF16: return widen(static_cast<const bf16*>(src)[i]);
    case DType::F16: return half_to_float(static_cast<const uint16_t*>(src)[i]);
  }
  return 0.0f;
}

template <class T>
__global__ void convert_kernel(T* dst, const void* src, DType from, size_t count) {
  for (size_t i = size_t(blockIdx.x) * kThreads + threadIdx.x; i < count; i += size_t(gridDim.x) * kThreads)
    dst[i] = narrow<T>(element(src, from, i));
}

template <class T>
__global__ void random_kernel(T* dst, size_t count, float std, uint64_t seed, uint32_t stream) {
  const size_t quads = (count + 3) / 4;
  for (size_t q = size_t(blockIdx.x) * kThreads + threadIdx.x; q < quads; q += size_t(gridDim.x) * kThreads) {
    float z[4];
    normal_quad(z, q, stream, seed);
    for (size_t i = 4 * q; i < 4 * q + 4 && i < count; ++i) dst[i] = narrow<T>(std * z[i % 4]);
  }
}

unsigned grid_for(size_t count) {
  const size_t blocks = (count + kThreads - 1) / kThreads;
  return static_cast<unsigned>(blocks < 8192 ? blocks : 8192);
}

}  // namespace

template <class T>
void convert(cudaStream_t s, T* dst, const void* src, DType from, size_t count) {
  LAUNCH(convert_kernel<T>, dim3(grid_for(count)), dim3(kThreads), 0, s, dst, src, from, count);
}

template <class T>
void random_normal(cudaStream_t s, T* dst, size_t count, float std, uint64_t seed, uint32_t stream) {
  LAUNCH(random_kernel<T>, dim3(grid_for((count + 3) / 4)), dim3(kThreads), 0, s, dst, count, std, seed, stream);
}

template void convert(cudaStream_t, bf16*, const void*, DType, size_t);
template void convert(cudaStream_t, float*, const void*, DType, size_t);
template void random_normal(cudaStream_t, bf16*, size_t, float, uint64_t, uint32_t);
template void random_normal(cudaStream_t, float*, size_t, float, uint64_t, uint32_t);

}  // namespace steerlab::gpu
