// The driver's virtual memory calls, found in libcuda at run time (the library must load where no driver is).
#include <cuda.h>
#include <dlfcn.h>

#include <map>

#include "weight_arena.h"

namespace steerlab {
namespace {

struct Driver {
  decltype(&cuMemGetAllocationGranularity) granularity;
  decltype(&cuMemAddressReserve) reserve;
  decltype(&cuMemAddressFree) unreserve;
  decltype(&cuMemCreate) create;
  decltype(&cuMemRelease) release;
  decltype(&cuMemMap) map;
  decltype(&cuMemUnmap) unmap;
  decltype(&cuMemSetAccess) set_access;
};

template <class F>
bool find(void* library, const char* name, F& out) {
  out = reinterpret_cast<F>(dlsym(library, name));
  return out != nullptr;
}

class DeviceVirtualMemory : public VirtualMemory {
 public:
  explicit DeviceVirtualMemory(const Driver& driver) : driver_(driver) {
    properties_.type = CU_MEM_ALLOCATION_TYPE_PINNED;
    properties_.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    properties_.location.id = 0;
    if (driver_.granularity(&granularity_, &properties_, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED) != CUDA_SUCCESS) granularity_ = 0;
  }
  size_t granularity() const override { return granularity_ ? granularity_ : size_t(2) << 20; }

  char* reserve(size_t bytes) override {
    CUdeviceptr p = 0;
    if (!granularity_ || driver_.reserve(&p, bytes, 0, 0, 0) != CUDA_SUCCESS) return nullptr;
    return reinterpret_cast<char*>(p);
  }

  bool commit(char* at, size_t bytes) override {
    CUmemGenericAllocationHandle handle = 0;
    const CUdeviceptr p = reinterpret_cast<CUdeviceptr>(at);
    if (driver_.create(&handle, bytes, &properties_, 0) != CUDA_SUCCESS) return false;
    if (driver_.map(p, bytes, 0, handle, 0) != CUDA_SUCCESS) {
      driver_.release(handle);
      return false;
    }
    CUmemAccessDesc access{};
    access.location = properties_.location;
    access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
    if (driver_.set_access(p, bytes, &access, 1) != CUDA_SUCCESS) {
      driver_.unmap(p, bytes);
      driver_.release(handle);
      return false;
    }
    handles_[at] = handle;
    return true;
  }

  void decommit(char* at, size_t bytes) override {
    const auto found = handles_.find(at);
    if (found == handles_.end()) return;
    driver_.unmap(reinterpret_cast<CUdeviceptr>(at), bytes);
    driver_.release(found->second);
    handles_.erase(found);
  }

  void unreserve(char* at, size_t bytes) override { driver_.unreserve(reinterpret_cast<CUdeviceptr>(at), bytes); }

 private:
  Driver driver_;
  CUmemAllocationProp properties_{};
  size_t granularity_ = 0;
  std::map<char*, CUmemGenericAllocationHandle> handles_;
};

}  // namespace

std::unique_ptr<VirtualMemory> device_virtual_memory() {
  void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library) return nullptr;
  Driver d{};
  const bool complete = find(library, "cuMemGetAllocationGranularity", d.granularity) && find(library, "cuMemAddressReserve", d.reserve) &&
                        find(library, "cuMemAddressFree", d.unreserve) && find(library, "cuMemCreate", d.create) &&
                        find(library, "cuMemRelease", d.release) && find(library, "cuMemMap", d.map) &&
                        find(library, "cuMemUnmap", d.unmap) && find(library, "cuMemSetAccess", d.set_access);
  if (!complete) return nullptr;
  return std::make_unique<DeviceVirtualMemory>(d);
}

}  // namespace steerlab
