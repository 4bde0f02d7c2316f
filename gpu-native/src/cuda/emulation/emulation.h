// CUDA on the CPU, for tests only: threads of a block run as fibers, device memory is host memory full of NaN patterns.
//
// Enough of the language and the runtime for src/cuda to compile with a host compiler and run, block after block. Fibers switch
// at barriers, shuffles and matrix instructions, in an order drawn from a seed, so a missing barrier shows up as a wrong
// number. Asynchronous copies land only when they are waited for, and until then their target holds NaN. One thread only.
// Not modelled: memory ordering between blocks, alignment traps, speed.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#define __restrict__
#define DYNAMIC_SHARED(name) unsigned char* const name = steerlab::emulation::dynamic_shared()

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};
struct alignas(16) uint4 {
  uint32_t x, y, z, w;
};
inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) { return {x, y, z, w}; }

extern dim3 threadIdx, blockIdx, blockDim, gridDim;

using cudaError_t = int;
using cudaStream_t = struct EmulatedStream*;
using cudaEvent_t = struct EmulatedEvent*;
constexpr cudaError_t cudaSuccess = 0, cudaErrorMemoryAllocation = 2, cudaErrorIllegalAddress = 700;
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2, cudaMemcpyDeviceToDevice = 3 };
constexpr unsigned cudaEventDisableTiming = 2, cudaStreamNonBlocking = 1;

cudaError_t cudaMalloc(void** p, size_t bytes);
cudaError_t cudaFree(void* p);
cudaError_t cudaMallocHost(void** p, size_t bytes);
cudaError_t cudaFreeHost(void* p);
cudaError_t cudaMemcpyAsync(void* dst, const void* src, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaMemsetAsync(void* dst, int value, size_t bytes, cudaStream_t stream);
cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total);
enum cudaDeviceAttr { cudaDevAttrL2CacheSize = 38 };
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);  // STEERLAB_EMULATION_L2: bytes of the cache
inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* s, unsigned) { *s = nullptr; return cudaSuccess; }
inline cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* e, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t e);
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t stream);
inline cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to);
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t) { return "emulated failure"; }
inline const char* cudaGetErrorName(cudaError_t e) { return e == cudaErrorIllegalAddress ? "cudaErrorIllegalAddress" : "cudaErrorEmulated"; }

void __syncthreads();
void __syncwarp();

template <class T>
inline T atomicAdd(T* p, T v) {
  const T old = *p;
  *p = old + v;
  return old;
}
inline float rsqrtf(float v) { return 1.0f / std::sqrt(v); }
inline void sincospif(float a, float* s, float* c) {
  *s = static_cast<float>(std::sin(3.14159265358979323846 * a));
  *c = static_cast<float>(std::cos(3.14159265358979323846 * a));
}
using std::max;
using std::min;

namespace steerlab {

namespace emulation {
unsigned char* dynamic_shared();
void run_grid(dim3 grid, dim3 block, size_t shared, const std::function<void()>& body);
constexpr size_t kDeviceBytes = size_t(8) << 30;
void account(long long bytes);  // device or pinned memory taken (> 0) or given back (< 0)
size_t live_bytes();
void set_schedule_seed(uint64_t seed);  // order in which ready fibers run; 0: by thread index
uint64_t exchange(uint64_t value, int from_lane);  // value of another lane of the warp
// STEERLAB_EMULATION_FAIL=<kernel or "malloc">: it fails as after an illegal address. Gives the status of `what`.
cudaError_t planned_failure(const std::string& what);
}  // namespace emulation

inline std::string kernel_of(const char* call);
void check_launch(cudaError_t status, const char* call);

template <class... P, class... A>
void launch(const char* call, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared, cudaStream_t, const A&... args) {
  check_launch(emulation::planned_failure(kernel_of(call)), call);
  emulation::run_grid(grid, block, shared, [&] { kernel(P(args)...); });
}

float shuffle_xor(float v, int mask);
double shuffle_xor(double v, int mask);
float shuffle(float v, int lane);
double shuffle(double v, int lane);
void copy_async16(void* shared, const void* global, int valid);
void copy_async_commit();
void copy_async_wait_for(int pending);
template <int kPending>
inline void copy_async_wait() { copy_async_wait_for(kPending); }
void load_matrix4(uint32_t r[4], const void* row);
void load_matrix4_transposed(uint32_t r[4], const void* row);
void mma_16816(float c[4], const uint32_t a[4], const uint32_t b[2]);

}  // namespace steerlab
