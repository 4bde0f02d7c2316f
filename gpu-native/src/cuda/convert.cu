// Checkpoint numbers to stored numbers on the device, and random weights of a given shape.
// Normals: Box and Muller (1958) on Philox words with the CPU twin's counters, so both backends draw the same matrix up to
// the last bit or two of log, cos and sin.
#include "kernels.h"
#include "reduce.h"

namespace steerlab::gpu {
namespace {

constexpr int kThreads = 256;
constexpr uint32_t kNormalTag = 0x4e4f524du;  // keeps weight streams apart from dropout and sampling

// IEEE half to float, subnormals included.
__device__ float half_to_float(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16, exponent = (h >> 10) & 31u, mantissa = h & 1023u;
  if (exponent == 31) return float_of_bits(sign | 0x7f800000u | (mantissa << 13));
  if (exponent) return float_of_bits(sign | ((exponent + 112u) << 23) | (mantissa << 13));
  const float magnitude = static_cast<float>(mantissa) * (1.0f / 16777216.0f);
  return sign ? -magnitude : magnitude;
}

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
    const Philox4 w = philox(static_cast<uint32_t>(q), static_cast<uint32_t>(q >> 32), stream, kNormalTag, seed);
    for (int j = 0; j < 4; j += 2) {
      const float radius = std * sqrtf(-2.0f * logf((static_cast<float>(w.w[j]) + 1.0f) * 0x1p-32f));
      float sine, cosine;
      sincospif(static_cast<float>(w.w[j + 1]) * 0x1p-31f, &sine, &cosine);
      const size_t i = 4 * q + j;
      if (i < count) dst[i] = narrow<T>(radius * cosine);
      if (i + 1 < count) dst[i + 1] = narrow<T>(radius * sine);
    }
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
