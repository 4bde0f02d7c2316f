// What every kernel file includes: the CUDA runtime, and the few warp and matrix instructions we write by hand.
//
// With STEERLAB_CUDA_EMULATION the same sources compile with a host compiler against emulation/emulation.h, which runs each
// block's threads as fibers on the CPU: slow, but every kernel can be compared with its CPU twin on a machine without a GPU.
// So kernels are started by LAUNCH (no <<<>>> outside this file) and dynamic shared memory is declared by DYNAMIC_SHARED.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#ifdef STEERLAB_CUDA_EMULATION
#include "emulation/emulation.h"
#else
#include <cuda_runtime.h>
#endif

#include "../backend.h"
#include "../error.h"
#include "../rng.h"
#include "bf16.h"

namespace steerlab {

// Turns a failed runtime call into steerlab::Error: "out-of-memory" for cudaErrorMemoryAllocation alone, "cuda" for the rest.
void check_cuda(cudaError_t status, const char* what);
// The same for the launch that `call` spells out; the message names its kernel.
void check_launch(cudaError_t status, const char* call);

// LAUNCH(kernel, grid, block, dynamic shared bytes, stream, arguments...): a macro so that a failure can name the kernel.
#define LAUNCH(...) ::steerlab::launch(#__VA_ARGS__, __VA_ARGS__)

// "query_kernel<T, kD>" of "query_kernel<T, kD>, dim3(tiles), ...".
inline std::string kernel_of(const char* call) {
  int depth = 0;
  const char* end = call;
  for (; *end && (depth > 0 || *end != ','); ++end) depth += *end == '<' ? 1 : *end == '>' ? -1 : 0;
  return std::string(call, end);
}

// Shared memory of a block beyond this must be asked for, kernel by kernel; static bytes count too.
constexpr size_t kDefaultShared = 48 * 1024;
constexpr bool must_ask_for_shared(size_t dynamic, size_t fixed) { return dynamic + fixed > kDefaultShared; }

constexpr unsigned kFullWarp = 0xffffffffu;

#ifndef STEERLAB_CUDA_EMULATION

#ifdef __CUDACC__
// Makes `dynamic` bytes available to a kernel; asks the driver once per kernel and size.
void allow_shared(const void* kernel, size_t dynamic, const char* call);

template <class... P, class... A>
void launch(const char* call, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared, cudaStream_t stream, const A&... args) {
  if (shared) allow_shared(reinterpret_cast<const void*>(kernel), shared, call);
  kernel<<<grid, block, shared, stream>>>(P(args)...);
  check_launch(cudaGetLastError(), call);
}

#define DYNAMIC_SHARED(name) extern __shared__ __align__(128) unsigned char name[]

__device__ __forceinline__ float shuffle_xor(float v, int mask) { return __shfl_xor_sync(kFullWarp, v, mask); }
__device__ __forceinline__ double shuffle_xor(double v, int mask) { return __shfl_xor_sync(kFullWarp, v, mask); }
__device__ __forceinline__ float shuffle(float v, int lane) { return __shfl_sync(kFullWarp, v, lane); }
__device__ __forceinline__ double shuffle(double v, int lane) { return __shfl_sync(kFullWarp, v, lane); }

// Shared-memory address as the 32-bit number that PTX wants.
__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// 16 bytes global -> shared, asynchronous; the last 16 - valid bytes become zero. valid 0 reads nothing.
__device__ __forceinline__ void copy_async16(void* shared, const void* global, int valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared_address(shared)), "l"(global), "r"(valid)
               : "memory");
}
__device__ __forceinline__ void copy_async_commit() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }
template <int kPending>
__device__ __forceinline__ void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kPending) : "memory");
}

// Four 8x8 matrices of 16-bit elements; lane l gives the address of row l % 8 of matrix l / 8.
__device__ __forceinline__ void load_matrix4(uint32_t r[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
__device__ __forceinline__ void load_matrix4_transposed(uint32_t r[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}

// c (16, 8) += a (16, 16) b (16, 8), bf16 in, f32 sums; fragments as in fragments.h.
__device__ __forceinline__ void mma_16816(float c[4], const uint32_t a[4], const uint32_t b[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif  // __CUDACC__
#endif  // STEERLAB_CUDA_EMULATION

}  // namespace steerlab
