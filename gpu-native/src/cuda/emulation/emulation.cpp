// The fiber scheduler and the warp instructions behind emulation.h.
#include "emulation.h"

#include <malloc.h>
#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <vector>

#include "../../rng.h"
#include "../bf16.h"
#include "../fragments.h"

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace steerlab::emulation {
namespace {

enum class State { Ready, AtBlock, AtWarp, Done };

struct PendingCopy {
  void* dst;
  unsigned char bytes[16];
};

struct Fiber {
  ucontext_t start;
  jmp_buf at;
  bool started = false;
  State state = State::Ready;
  dim3 index;
  std::unique_ptr<unsigned char[]> stack;
  std::vector<std::vector<PendingCopy>> groups;  // committed, oldest first
  std::vector<PendingCopy> open;
};

constexpr size_t kStack = 256 * 1024;
std::vector<std::unique_ptr<Fiber>> fibers;
size_t active = 0;  // fibers of the current block
Fiber* current = nullptr;
size_t current_id = 0;
ucontext_t home;
jmp_buf home_at;
const std::function<void()>* body = nullptr;
std::vector<unsigned char> shared_storage;
uint64_t schedule_seed = 0, schedule_count = 0;
uint64_t slots[64][32];  // exchange slots of each warp

void fiber_main() {
  (*body)();
  current->state = State::Done;
  _longjmp(home_at, 1);
}

void pause(State state) {
  current->state = state;
  if (_setjmp(current->at) == 0) _longjmp(home_at, 1);
}

void resume(size_t id) {
  current = fibers[id].get();
  current_id = id;
  threadIdx = current->index;
  if (_setjmp(home_at) != 0) return;
  if (current->started) _longjmp(current->at, 1);
  current->started = true;
  setcontext(&current->start);
}

// Lets waiting fibers go on when all that still run have arrived. Returns whether any was freed.
bool release_barriers() {
  bool freed = false, all = true;
  for (size_t w = 0; w < active; w += 32) {
    const size_t end = std::min(active, w + 32);
    bool warp = true, waiting = false;
    for (size_t i = w; i < end; ++i) {
      const State s = fibers[i]->state;
      if (s != State::AtWarp && s != State::Done) warp = false;
      if (s == State::AtWarp) waiting = true;
      if (s != State::AtBlock && s != State::Done) all = false;
    }
    if (!warp || !waiting) continue;
    for (size_t i = w; i < end; ++i)
      if (fibers[i]->state == State::AtWarp) fibers[i]->state = State::Ready;
    freed = true;
  }
  if (!all) return freed;
  for (size_t i = 0; i < active; ++i)
    if (fibers[i]->state == State::AtBlock) {
      fibers[i]->state = State::Ready;
      freed = true;
    }
  return freed;
}

void prepare(dim3 block) {
  active = size_t(block.x) * block.y * block.z;
  while (fibers.size() < active) {
    fibers.push_back(std::make_unique<Fiber>());
    fibers.back()->stack = std::make_unique<unsigned char[]>(kStack);
  }
  for (size_t i = 0; i < active; ++i) {
    Fiber& f = *fibers[i];
    f.started = false;
    f.state = State::Ready;
    f.groups.clear();
    f.open.clear();
    f.index = dim3(i % block.x, (i / block.x) % block.y, i / (size_t(block.x) * block.y));
    getcontext(&f.start);
    f.start.uc_stack.ss_sp = f.stack.get();
    f.start.uc_stack.ss_size = kStack;
    f.start.uc_link = &home;
    makecontext(&f.start, fiber_main, 0);
  }
}

void run_block() {
  for (;;) {
    bool ran = false;
    const size_t start = schedule_seed ? philox(schedule_count++, 0, 0, 0, schedule_seed).w[0] % active : 0;
    for (size_t i = 0; i < active; ++i) {
      const size_t id = (start + i) % active;
      if (fibers[id]->state != State::Ready) continue;
      resume(id);
      ran = true;
    }
    if (release_barriers() || ran) continue;
    for (size_t i = 0; i < active; ++i)
      if (fibers[i]->state != State::Done) throw std::runtime_error("emulation: threads of a block wait at different barriers");
    return;
  }
}

}  // namespace

unsigned char* dynamic_shared() {
  const uintptr_t p = reinterpret_cast<uintptr_t>(shared_storage.data());
  return reinterpret_cast<unsigned char*>((p + 127) & ~uintptr_t(127));
}

void set_schedule_seed(uint64_t seed) { schedule_seed = seed; }

void run_grid(dim3 grid, dim3 block, size_t shared, const std::function<void()>& kernel) {
  gridDim = grid;
  blockDim = block;
  body = &kernel;
  if (grid.y > 65535 || grid.z > 65535) throw std::runtime_error("emulation: grid too tall for a device");
  if (size_t(block.x) * block.y * block.z > 1024) throw std::runtime_error("emulation: more than 1024 threads in a block");
  if (shared > 98 * 1024) throw std::runtime_error("emulation: more shared memory than sm_86 has");  // 99 KB less static arrays
  for (unsigned z = 0; z < grid.z; ++z)
    for (unsigned y = 0; y < grid.y; ++y)
      for (unsigned x = 0; x < grid.x; ++x) {
        blockIdx = dim3(x, y, z);
        shared_storage.assign(shared + 256, 0xff);
        prepare(block);
        run_block();
      }
}

uint64_t exchange(uint64_t value, int from_lane) {
  const size_t warp = current_id / 32;
  slots[warp][current_id % 32] = value;
  pause(State::AtWarp);
  const uint64_t got = slots[warp][from_lane];
  pause(State::AtWarp);
  return got;
}

}  // namespace steerlab::emulation

using namespace steerlab::emulation;

void __syncthreads() { pause(State::AtBlock); }
void __syncwarp() { pause(State::AtWarp); }

namespace steerlab::emulation {
namespace {
std::atomic<long long> live{0};
}
void account(long long bytes) { live += bytes; }
size_t live_bytes() { return static_cast<size_t>(std::max(0ll, live.load())); }
}  // namespace steerlab::emulation

namespace steerlab::emulation {
cudaError_t planned_failure(const std::string& what) {
  const char* planned = std::getenv("STEERLAB_EMULATION_FAIL");
  return planned && what.rfind(planned, 0) == 0 ? cudaErrorIllegalAddress : cudaSuccess;
}
}  // namespace steerlab::emulation

struct EmulatedEvent {
  std::chrono::steady_clock::time_point at;
};
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* e, unsigned) {
  *e = new EmulatedEvent();
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t e) {
  delete e;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t) {
  e->at = std::chrono::steady_clock::now();
  return cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  *milliseconds = std::chrono::duration<float, std::milli>(to->at - from->at).count();
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** p, size_t bytes) {
  if (const cudaError_t failure = steerlab::emulation::planned_failure("malloc")) return failure;
  if (bytes > steerlab::emulation::kDeviceBytes - std::min(steerlab::emulation::kDeviceBytes, steerlab::emulation::live_bytes()))
    return cudaErrorMemoryAllocation;
  *p = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  if (!*p) return cudaErrorMemoryAllocation;
  std::memset(*p, 0xff, bytes);
  steerlab::emulation::account(static_cast<long long>(malloc_usable_size(*p)));
  return cudaSuccess;
}
cudaError_t cudaFree(void* p) {
  if (p) steerlab::emulation::account(-static_cast<long long>(malloc_usable_size(p)));
  std::free(p);
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total) {
  *total = steerlab::emulation::kDeviceBytes;
  *free_bytes = *total - std::min(*total, steerlab::emulation::live_bytes());
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
  const char* told = std::getenv("STEERLAB_EMULATION_L2");
  *value = told ? std::atoi(told) : 1 << 16;
  return cudaSuccess;
}
cudaError_t cudaMallocHost(void** p, size_t bytes) {
  if (steerlab::emulation::planned_failure("pinned") != cudaSuccess) return cudaErrorMemoryAllocation;
  return cudaMalloc(p, bytes);
}
cudaError_t cudaFreeHost(void* p) { return cudaFree(p); }
cudaError_t cudaMemcpyAsync(void* dst, const void* src, size_t bytes, cudaMemcpyKind, cudaStream_t) {
  std::memmove(dst, src, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* dst, int value, size_t bytes, cudaStream_t) {
  std::memset(dst, value, bytes);
  return cudaSuccess;
}

namespace steerlab {
namespace {

int lane_id() { return static_cast<int>(current_id % 32); }

template <class T>
T exchange_as(T v, int from) {
  uint64_t bits = 0;
  std::memcpy(&bits, &v, sizeof v);
  bits = exchange(bits, from);
  std::memcpy(&v, &bits, sizeof v);
  return v;
}

void load_matrices(uint32_t r[4], const void* row, bool transposed) {
  if (reinterpret_cast<uintptr_t>(row) % 16) throw std::runtime_error("emulation: ldmatrix row is not 16-byte aligned");
  const int lane = lane_id();
  for (int m = 0; m < 4; ++m) {
    uint32_t packed = 0;
    for (int e = 0; e < 2; ++e) {
      TileIndex at = ldmatrix_index(lane, e);
      if (transposed) std::swap(at.row, at.col);
      const auto* source = reinterpret_cast<const uint16_t*>(exchange_as(row, m * 8 + at.row));
      packed |= static_cast<uint32_t>(source[at.col]) << (16 * e);
    }
    r[m] = packed;
  }
  pause(State::AtWarp);
}

float half_of(uint32_t reg, int e) { return widen(bf16{static_cast<uint16_t>(reg >> (16 * e))}); }

}  // namespace

float shuffle_xor(float v, int mask) { return exchange_as(v, lane_id() ^ mask); }
double shuffle_xor(double v, int mask) { return exchange_as(v, lane_id() ^ mask); }
float shuffle(float v, int lane) { return exchange_as(v, lane); }
double shuffle(double v, int lane) { return exchange_as(v, lane); }

void copy_async16(void* shared, const void* global, int valid) {
  if (reinterpret_cast<uintptr_t>(shared) % 16 || (valid && reinterpret_cast<uintptr_t>(global) % 16))
    throw std::runtime_error("emulation: cp.async is not 16-byte aligned");
  PendingCopy copy{shared, {}};
  if (valid) std::memcpy(copy.bytes, global, valid);
  std::memset(shared, 0xff, 16);
  current->open.push_back(copy);
}
void copy_async_commit() {
  current->groups.push_back(std::move(current->open));
  current->open.clear();
}
void copy_async_wait_for(int pending) {
  auto& groups = current->groups;
  while (groups.size() > static_cast<size_t>(pending)) {
    for (const PendingCopy& c : groups.front()) std::memcpy(c.dst, c.bytes, 16);
    groups.erase(groups.begin());
  }
}

void load_matrix4(uint32_t r[4], const void* row) { load_matrices(r, row, false); }
void load_matrix4_transposed(uint32_t r[4], const void* row) { load_matrices(r, row, true); }

void mma_16816(float c[4], const uint32_t a[4], const uint32_t b[2]) {
  static float tile_a[64][16][16], tile_b[64][16][8];
  const int lane = lane_id();
  auto& ta = tile_a[current_id / 32];
  auto& tb = tile_b[current_id / 32];
  for (int e = 0; e < 8; ++e) {
    const TileIndex at = mma_a_index(lane, e);
    ta[at.row][at.col] = half_of(a[e / 2], e % 2);
  }
  for (int e = 0; e < 4; ++e) {
    const TileIndex at = mma_b_index(lane, e);
    tb[at.row][at.col] = half_of(b[e / 2], e % 2);
  }
  pause(State::AtWarp);
  for (int e = 0; e < 4; ++e) {
    const TileIndex at = mma_c_index(lane, e);
    for (int k = 0; k < 16; ++k) c[e] += ta[at.row][k] * tb[k][at.col];
  }
  pause(State::AtWarp);
}

}  // namespace steerlab
