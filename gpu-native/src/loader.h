// Opens libsteerlab_cuda.so beside the addon when it is first asked for, and says why when it cannot be used.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "backend.h"

namespace steerlab {

struct CudaStatus {
  bool available = false;
  std::string reason;   // why not; "" when available
  std::string library;  // path, "" when none was opened
  std::string device;   // "" unknown
  std::string driver;   // "12.4", "" none
  std::string runtime;
  std::string gemm;     // "" unknown
  uint64_t memory_bytes = 0, memory_free_bytes = 0;  // 0: unknown
};

CudaStatus probe_cuda();
// Throws "cuda-missing" with the reason.
std::shared_ptr<Backend> make_cuda_backend(DType act);

}  // namespace steerlab
