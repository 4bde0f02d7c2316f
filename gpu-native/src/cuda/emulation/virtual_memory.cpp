// Address space for the weight arena on the host: reserved without access, opened chunk by chunk.
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

#include "../platform.h"
#include "../weight_arena.h"

namespace steerlab {
namespace {

class HostVirtualMemory : public VirtualMemory {
 public:
  size_t granularity() const override { return size_t(2) << 20; }
  // STEERLAB_EMULATION_ADDRESS_GB: the most that can be reserved at once.
  char* reserve(size_t bytes) override {
    const char* most = std::getenv("STEERLAB_EMULATION_ADDRESS_GB");
    if (most && bytes > std::strtoull(most, nullptr, 10) << 30) return nullptr;
    void* p = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? nullptr : static_cast<char*>(p);
  }
  bool commit(char* at, size_t bytes) override {
    if (mprotect(at, bytes, PROT_READ | PROT_WRITE) != 0) return false;
    emulation::account(static_cast<long long>(bytes));
    return true;
  }
  void decommit(char* at, size_t bytes) override {
    emulation::account(-static_cast<long long>(bytes));
    madvise(at, bytes, MADV_DONTNEED);
    mprotect(at, bytes, PROT_NONE);
  }
  void unreserve(char* at, size_t bytes) override { munmap(at, bytes); }
};

}  // namespace

std::unique_ptr<VirtualMemory> device_virtual_memory() { return std::make_unique<HostVirtualMemory>(); }

}  // namespace steerlab
