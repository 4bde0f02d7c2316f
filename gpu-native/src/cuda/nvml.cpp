#include "nvml.h"

#include <dlfcn.h>

#include <cstdio>

namespace steerlab {
namespace {

struct Memory {
  unsigned long long total, free, used;
};
using Device = struct NvmlDevice*;

template <class F>
bool find(void* library, const char* name, F& out) {
  out = reinterpret_cast<F>(dlsym(library, name));
  return out != nullptr;
}

}  // namespace

uint64_t free_device_memory(int pci_domain, int pci_bus, int pci_device) {
  static void* const library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
  int (*start)() = nullptr, (*stop)() = nullptr;
  int (*handle)(const char*, Device*) = nullptr;
  int (*memory)(Device, Memory*) = nullptr;
  if (!library || !find(library, "nvmlInit_v2", start) || !find(library, "nvmlShutdown", stop) ||
      !find(library, "nvmlDeviceGetHandleByPciBusId_v2", handle) || !find(library, "nvmlDeviceGetMemoryInfo", memory) || start() != 0)
    return kUnknownBytes;
  char place[32];
  std::snprintf(place, sizeof place, "%08x:%02x:%02x.0", static_cast<unsigned>(pci_domain), static_cast<unsigned>(pci_bus),
                static_cast<unsigned>(pci_device));
  Device device = nullptr;
  Memory m{};
  const bool known = handle(place, &device) == 0 && memory(device, &m) == 0;
  stop();
  return known ? m.free : kUnknownBytes;
}

}  // namespace steerlab
