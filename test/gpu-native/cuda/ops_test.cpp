// steerlab_cuda_ops_test <library> [dtype] [case]: every op of a CUDA library against the plain CPU backend.
//
// Prints one line per check and a count last; exit status 1 when any failed, 2 when the library or its device cannot be used.
// dtype: bf16, f32 or both (default).
#include <dlfcn.h>

#include "cuda/cuda_api.h"
#include "twin.h"

namespace {

using namespace twin;

struct Library {
  CudaProbeFn probe = nullptr;
  CudaCreateFn create = nullptr;
  CudaDestroyFn destroy = nullptr;
};

bool open_library(const char* path, Library& lib) {
  void* handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    std::printf("cannot open: %s\n", dlerror());
    return false;
  }
  lib.probe = reinterpret_cast<CudaProbeFn>(dlsym(handle, "steerlab_cuda_probe"));
  lib.create = reinterpret_cast<CudaCreateFn>(dlsym(handle, "steerlab_cuda_create"));
  lib.destroy = reinterpret_cast<CudaDestroyFn>(dlsym(handle, "steerlab_cuda_destroy"));
  return lib.probe && lib.create && lib.destroy;
}

int run(const Library& lib, DType act, const std::string& only) {
  char error[1024] = "";
  Backend* gpu = lib.create(static_cast<int>(act), error, sizeof error);
  if (!gpu) {
    std::printf("%s\n", error);
    return -1;
  }
  std::unique_ptr<Backend> cpu;
  if (act == DType::BF16) cpu = std::make_unique<PlainBackend<BF16>>(1);
  else cpu = std::make_unique<PlainBackend<F32>>(1);
  const std::string type = act == DType::BF16 ? "bf16" : "f32";
  std::printf("# %s against %s\n", gpu->describe().c_str(), cpu->describe().c_str());
  int failures = 0, checks = 0;
  for (const auto& cases : {row_cases(), linear_cases(), attention_cases(), loss_cases()})
    for (const Case& c : cases) {
      if (!only.empty() && only != c.name) continue;
      Twin t(*cpu, *gpu, 2026);
      t.name = type + "/" + c.name;
      try {
        c.run(t);
      } catch (const std::exception& e) {
        std::printf("FAIL %s threw %s\n", t.name.c_str(), e.what());
        ++failures;
      }
      failures += t.failures;
      checks += t.checks;
    }
  std::printf("# counters of %s:\n%s", type.c_str(), gpu->counters().c_str());
  lib.destroy(gpu);
  std::printf("# %s: %d checks, %d failed\n", type.c_str(), checks, failures);
  return checks == 0 ? 1 : failures;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::printf("usage: steerlab_cuda_ops_test <library> [bf16|f32|both] [case]\n");
    return 2;
  }
  Library lib;
  if (!open_library(argv[1], lib)) return 2;
  auto probe = std::make_unique<CudaProbe>();
  if (!lib.probe(probe.get())) {
    std::printf("no device: %s\n", probe->reason);
    return 2;
  }
  const std::string type = argc > 2 ? argv[2] : "both", only = argc > 3 ? argv[3] : "";
  int failures = 0;
  for (const DType act : {DType::F32, DType::BF16}) {
    if (type == (act == DType::F32 ? "bf16" : "f32")) continue;
    const int result = run(lib, act, only);
    if (result < 0) return 2;
    failures += result;
  }
  return failures ? 1 : 0;
}
