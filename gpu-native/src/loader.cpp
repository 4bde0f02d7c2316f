#include "loader.h"

#include <dlfcn.h>

#include <cstdlib>
#include <cstring>

#include "cuda/cuda_api.h"
#include "error.h"

namespace steerlab {
namespace {

struct CudaLibrary {
  void* handle = nullptr;
  std::string path, reason;
  CudaProbeFn probe = nullptr;
  CudaCreateFn create = nullptr;
  CudaDestroyFn destroy = nullptr;
};

const char* file_reason(const char* text) { return text ? text : "unknown reason"; }

std::string beside_addon() {
  Dl_info here{};
  if (dladdr(reinterpret_cast<const void*>(&file_reason), &here) == 0 || !here.dli_fname) return "libsteerlab_cuda.so";
  const std::string path = here.dli_fname;
  const size_t slash = path.rfind('/');
  return (slash == std::string::npos ? std::string() : path.substr(0, slash + 1)) + "libsteerlab_cuda.so";
}

// The library stays open for the life of the process: a CUDA runtime does not survive being unloaded.
CudaLibrary open_library() {
  CudaLibrary lib;
  const char* chosen = std::getenv("STEERLAB_CUDA_LIBRARY");
  lib.path = chosen && *chosen ? chosen : beside_addon();
  void* handle = dlopen(lib.path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    lib.reason = std::string("the CUDA library could not be opened (") + file_reason(dlerror()) +
                 "); with a CUDA compiler (nvcc) installed, npm run build makes it";
    lib.path.clear();
    return lib;
  }
  const auto abi = reinterpret_cast<CudaAbiFn>(dlsym(handle, "steerlab_cuda_abi"));
  lib.probe = reinterpret_cast<CudaProbeFn>(dlsym(handle, "steerlab_cuda_probe"));
  lib.create = reinterpret_cast<CudaCreateFn>(dlsym(handle, "steerlab_cuda_create"));
  lib.destroy = reinterpret_cast<CudaDestroyFn>(dlsym(handle, "steerlab_cuda_destroy"));
  if (!abi || !lib.probe || !lib.create || !lib.destroy || abi() != kCudaAbi) {
    lib.reason = "the CUDA library is of another version than the addon; run npm run build";
    return lib;
  }
  lib.handle = handle;
  return lib;
}

const CudaLibrary& library() {
  static const CudaLibrary lib = open_library();
  return lib;
}

std::string version_text(int v) { return v == 0 ? "" : std::to_string(v / 1000) + "." + std::to_string(v % 1000 / 10); }

}  // namespace

CudaStatus probe_cuda() {
  CudaStatus status;
  const CudaLibrary& lib = library();
  status.library = lib.path;
  status.reason = lib.reason;
  if (!lib.handle) return status;
  auto probe = std::make_unique<CudaProbe>();
  std::memset(probe.get(), 0, sizeof(CudaProbe));
  status.available = lib.probe(probe.get()) != 0;
  status.reason = probe->reason;
  status.device = probe->device;
  status.driver = version_text(probe->driver_version);
  status.runtime = version_text(probe->runtime_version);
  status.gemm = probe->gemm;
  status.memory_bytes = probe->memory_bytes;
  status.memory_free_bytes = probe->memory_free_bytes == ~uint64_t(0) ? 0 : probe->memory_free_bytes;
  return status;
}

std::shared_ptr<Backend> make_cuda_backend(DType act) {
  const CudaLibrary& lib = library();
  if (!lib.handle) {
    throw Error("cuda-missing", "Expected a CUDA device for backend but received none: " + lib.reason + ". Use backend \"cpu\".");
  }
  char text[1024] = {0};
  Backend* made = lib.create(static_cast<int>(act), text, sizeof text);
  if (!made) {
    const std::string message = text;
    const size_t colon = message.find(": ");
    const bool coded = colon != std::string::npos && message.find(' ') > colon;
    throw Error(coded ? message.substr(0, colon) : "cuda-missing", coded ? message.substr(colon + 2) : message);
  }
  return std::shared_ptr<Backend>(made, lib.destroy);
}

}  // namespace steerlab
