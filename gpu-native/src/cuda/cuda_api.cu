// The C door (cuda_api.h): probing the machine and making backends. Nothing here throws.
#include "cuda_api.h"

#include <cstdio>
#include <cstring>
#include <exception>

#include "cuda_backend.h"
#include "nvml.h"

namespace steerlab {

std::string device_name(size_t& memory_bytes) {
  cudaDeviceProp p{};
  check_cuda(cudaGetDeviceProperties(&p, 0), "reading the device's properties");
  memory_bytes = p.totalGlobalMem;
  return std::string(p.name) + " sm_" + std::to_string(p.major) + std::to_string(p.minor);
}

namespace {

constexpr int kLeastSm = 80;

void put(char* to, size_t size, const std::string& text) { std::snprintf(to, size, "%s", text.c_str()); }

std::string version_text(int v) { return std::to_string(v / 1000) + "." + std::to_string(v % 1000 / 10); }

// Fills everything that can be known without a context, which would hold half a gigabyte of the device for as long as the process
// lives; gives the reason why the device cannot be used, "" when it can.
std::string examine(CudaProbe& out) {
  int driver = 0, runtime = 0, devices = 0;
  cudaRuntimeGetVersion(&runtime);
  cudaDriverGetVersion(&driver);
  out.runtime_version = runtime;
  out.driver_version = driver;
  if (driver == 0) return "no CUDA driver (libcuda.so.1) is installed on this machine";
  const cudaError_t status = cudaGetDeviceCount(&devices);
  if (status == cudaErrorInsufficientDriver)
    return "the driver supports CUDA " + version_text(driver) + " but this library needs " + version_text(runtime) + "; update the driver";
  if (status != cudaSuccess) return std::string("the driver answers: ") + cudaGetErrorString(status);
  out.device_count = devices;
  if (devices == 0) return "the driver finds no CUDA device";
  cudaDeviceProp p{};
  if (cudaGetDeviceProperties(&p, 0) != cudaSuccess) return "the properties of the first device cannot be read";
  put(out.device, sizeof out.device, p.name);
  out.sm = p.major * 10 + p.minor;
  out.memory_bytes = p.totalGlobalMem;
  if (out.sm < kLeastSm)
    return std::string(p.name) + " has compute capability " + std::to_string(p.major) + "." + std::to_string(p.minor) +
           " but 8.0 (A100) or later is needed";
  out.memory_free_bytes = free_device_memory(p.pciDomainID, p.pciBusID, p.pciDeviceID);
  return "";
}

}  // namespace
}  // namespace steerlab

int steerlab_cuda_abi() { return steerlab::kCudaAbi; }

int steerlab_cuda_probe(steerlab::CudaProbe* out) {
  if (!out) return 0;
  std::memset(out, 0, sizeof *out);
  out->abi = steerlab::kCudaAbi;
  try {
    const std::string reason = steerlab::examine(*out);
    steerlab::put(out->reason, sizeof out->reason, reason);
    out->available = reason.empty();
    steerlab::put(out->gemm, sizeof out->gemm,
                  steerlab::describe_gemm_source(steerlab::gemm_candidates(steerlab::process_environment)));
  } catch (const std::exception& e) {
    steerlab::put(out->reason, sizeof out->reason, e.what());
    out->available = 0;
  }
  return out->available;
}

steerlab::Backend* steerlab_cuda_create(int dtype, char* error, int error_size) {
  const auto fail = [&](const std::string& text) -> steerlab::Backend* {
    if (error && error_size > 0) std::snprintf(error, static_cast<size_t>(error_size), "%s", text.c_str());
    return nullptr;
  };
  try {
    const auto type = static_cast<steerlab::DType>(dtype);
    if (type != steerlab::DType::BF16 && type != steerlab::DType::F32)
      return fail("dtype: Expected dtype bf16 or f32 for the cuda backend but received " +
                  std::string(type == steerlab::DType::F64 ? "f64" : "f16") + ". Use backend \"cpu\" for f64.");
    steerlab::CudaProbe probe{};
    const std::string reason = steerlab::examine(probe);
    if (!reason.empty())
      return fail("cuda-missing: Expected a usable CUDA device for backend but received none: " + reason + ". Use backend \"cpu\".");
    size_t bytes = 0;
    const std::string name = steerlab::device_name(bytes);
    if (type == steerlab::DType::BF16) return new steerlab::CudaBackend<steerlab::bf16>(type, name, bytes);
    return new steerlab::CudaBackend<float>(type, name, bytes);
  } catch (const steerlab::Error& e) {
    return fail(e.code + ": " + e.what());
  } catch (const std::exception& e) {
    return fail(std::string("cuda: ") + e.what());
  }
}

void steerlab_cuda_destroy(steerlab::Backend* backend) { delete backend; }
