// The C door of libsteerlab_cuda.so: what loader.cpp finds with dlopen/dlsym, and nothing else of the library is exported.
//
// The library links the CUDA runtime statically and the driver not at all, so it opens on a machine without a GPU; probe then
// answers with the reason. Nothing here throws: failures come back as text. (Backend methods do throw steerlab::Error.)
#pragma once
#include <cstdint>

#include "../backend.h"

namespace steerlab {

// Raised whenever this header, ops.h, backend.h or error.h changes in a way that an older library could not serve.
constexpr int kCudaAbi = 4;

struct CudaProbe {
  int32_t abi;              // kCudaAbi of the library
  int32_t available;        // 1: steerlab_cuda_create can succeed
  int32_t driver_version;   // as 12040 for 12.4; 0: no driver
  int32_t runtime_version;  // of the runtime linked into the library
  int32_t device_count;
  int32_t sm;               // compute capability of device 0, as 80 or 90; 0: unknown
  uint64_t memory_bytes;    // of device 0
  uint64_t memory_free_bytes;
  char device[256];         // name of device 0
  char reason[512];         // why it is not available; "" when it is
  char gemm[1024];          // "cuBLASLt 13.0 from PATH", or "own mma.sync kernels (tried ...)"
};

using CudaAbiFn = int (*)();
using CudaProbeFn = int (*)(CudaProbe*);                                      // returns available
using CudaCreateFn = Backend* (*)(int dtype, char* error, int error_size);   // null on failure
using CudaDestroyFn = void (*)(Backend*);

}  // namespace steerlab

#define STEERLAB_CUDA_EXPORT extern "C" __attribute__((visibility("default")))

STEERLAB_CUDA_EXPORT int steerlab_cuda_abi();
STEERLAB_CUDA_EXPORT int steerlab_cuda_probe(steerlab::CudaProbe* out);
// dtype: value of DType, BF16 or F32. On failure returns null and `error` holds "code: message", code as in error.h.
// The device is CUDA device 0 of the process (choose another with CUDA_VISIBLE_DEVICES).
STEERLAB_CUDA_EXPORT steerlab::Backend* steerlab_cuda_create(int dtype, char* error, int error_size);
// The backend must be destroyed by the library that made it.
STEERLAB_CUDA_EXPORT void steerlab_cuda_destroy(steerlab::Backend* backend);
