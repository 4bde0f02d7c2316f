// The C door of the emulated library: the same four functions as cuda_api.h, with the CPU standing in for the device.
//
// STEERLAB_EMULATION_SEED sets the order in which threads of a block run (0, the default: by index).
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "../cuda_api.h"
#include "../cuda_backend.h"

namespace steerlab {
std::string device_name(size_t& memory_bytes) {
  memory_bytes = steerlab::emulation::kDeviceBytes;
  return "emulated device sm_80";
}
}  // namespace steerlab

int steerlab_cuda_abi() { return steerlab::kCudaAbi; }

int steerlab_cuda_probe(steerlab::CudaProbe* out) {
  std::memset(out, 0, sizeof *out);
  out->abi = steerlab::kCudaAbi;
  out->available = 1;
  out->device_count = 1;
  out->sm = 80;
  size_t free_bytes = 0, total = 0;
  cudaMemGetInfo(&free_bytes, &total);
  out->memory_bytes = total;
  out->memory_free_bytes = free_bytes;
  std::snprintf(out->device, sizeof out->device, "emulated device");
  std::snprintf(out->gemm, sizeof out->gemm, "%s",
                steerlab::describe_gemm_source(steerlab::gemm_candidates(steerlab::process_environment)).c_str());
  return 1;
}

steerlab::Backend* steerlab_cuda_create(int dtype, char* error, int error_size) {
  const char* seed = std::getenv("STEERLAB_EMULATION_SEED");
  steerlab::emulation::set_schedule_seed(seed ? std::strtoull(seed, nullptr, 10) : 0);
  try {
    size_t bytes = 0;
    const std::string name = steerlab::device_name(bytes);
    if (dtype == static_cast<int>(steerlab::DType::BF16))
      return new steerlab::CudaBackend<steerlab::bf16>(steerlab::DType::BF16, name, bytes);
    return new steerlab::CudaBackend<float>(steerlab::DType::F32, name, bytes);
  } catch (const std::exception& e) {
    std::snprintf(error, static_cast<size_t>(error_size), "cuda: %s", e.what());
    return nullptr;
  }
}

void steerlab_cuda_destroy(steerlab::Backend* backend) { delete backend; }
