#include "staging.h"

#include <algorithm>
#include <cstring>
#include <thread>

#include "kernels.h"

namespace steerlab {
namespace {

constexpr size_t kSmallSlot = 64 * 1024, kSmallSlots = 64;
constexpr size_t kLargeSlot = size_t(32) << 20, kLargeSlots = 2;
constexpr size_t kResults = 256 * 1024;
constexpr unsigned kCopyThreads = 4;

// A checkpoint is read from its mapping here, so page faults happen on several threads at once.
void copy_parallel(char* to, const char* from, size_t bytes) {
  const unsigned threads = std::min(kCopyThreads, std::max(1u, std::thread::hardware_concurrency()));
  if (threads == 1 || bytes < (size_t(4) << 20)) {
    std::memcpy(to, from, bytes);
    return;
  }
  const size_t share = (bytes / threads + 4095) / 4096 * 4096;
  std::vector<std::thread> workers;
  for (unsigned i = 1; i < threads; ++i) {
    const size_t begin = std::min(bytes, share * i), end = i + 1 == threads ? bytes : std::min(bytes, share * (i + 1));
    workers.emplace_back([=] { std::memcpy(to + begin, from + begin, end - begin); });
  }
  std::memcpy(to, from, std::min(bytes, share));
  for (std::thread& w : workers) w.join();
}

// Pinned memory is the machine's: short of it the device is not full.
char* pinned(size_t bytes, const char* what) {
  void* memory = nullptr;
  const cudaError_t status = cudaMallocHost(&memory, bytes);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    throw Error("out-of-memory", "Expected " + std::to_string(bytes >> 10) + " KiB of pinned host memory for " + what +
                                     " but the machine gives none. Free host memory, or raise its limit of locked memory (ulimit -l).");
  }
  check_cuda(status, what);
  return static_cast<char*>(memory);
}

}  // namespace

Staging::~Staging() {
  release(small_);
  release(large_);
  if (results_) cudaFreeHost(results_);
  if (convert_buffer_) cudaFree(convert_buffer_);
}

void Staging::release(std::vector<Slot>& ring) {
  for (Slot& slot : ring) {
    cudaEventDestroy(slot.sent);
    cudaFreeHost(slot.memory);
  }
}

Staging::Slot& Staging::next_slot(std::vector<Slot>& ring, size_t& at, size_t count, size_t bytes) {
  if (ring.size() < count) {
    Slot slot;
    slot.memory = pinned(bytes, "uploads");
    check_cuda(cudaEventCreateWithFlags(&slot.sent, cudaEventDisableTiming), "event");
    ring.push_back(slot);
    at = ring.size() % count;
    return ring.back();
  }
  Slot& slot = ring[at];
  at = (at + 1) % count;
  if (slot.used) check_cuda(cudaEventSynchronize(slot.sent), "upload");
  return slot;
}

void Staging::mark_sent(Slot& slot) {
  check_cuda(cudaEventRecord(slot.sent, stream_), "event");
  slot.used = true;
}

void Staging::upload(void* dst, const void* host, size_t bytes) {
  const char* from = static_cast<const char*>(host);
  char* to = static_cast<char*>(dst);
  while (bytes > 0) {
    const bool small = bytes <= kSmallSlot;
    const size_t part = std::min(bytes, small ? kSmallSlot : kLargeSlot);
    Slot& slot = small ? next_slot(small_, at_small_, kSmallSlots, kSmallSlot) : next_slot(large_, at_large_, kLargeSlots, kLargeSlot);
    copy_parallel(slot.memory, from, part);
    check_cuda(cudaMemcpyAsync(to, slot.memory, part, cudaMemcpyHostToDevice, stream_), "upload");
    mark_sent(slot);
    from += part;
    to += part;
    bytes -= part;
  }
}

template <class T>
void Staging::upload_converted(T* dst, const void* host, DType from, size_t count) {
  if (!convert_buffer_) check_cuda(cudaMalloc(&convert_buffer_, kLargeSlot), "memory for conversion");
  const size_t element = bytes_of(from), chunk = kLargeSlot / element;
  for (size_t done = 0; done < count; done += chunk) {
    const size_t part = std::min(chunk, count - done);
    Slot& slot = next_slot(large_, at_large_, kLargeSlots, kLargeSlot);
    copy_parallel(slot.memory, static_cast<const char*>(host) + done * element, part * element);
    check_cuda(cudaMemcpyAsync(convert_buffer_, slot.memory, part * element, cudaMemcpyHostToDevice, stream_), "upload");
    mark_sent(slot);
    gpu::convert(stream_, dst + done, convert_buffer_, from, part);
  }
}
template void Staging::upload_converted(bf16*, const void*, DType, size_t);
template void Staging::upload_converted(float*, const void*, DType, size_t);

void Staging::expect(void* to, const void* device, size_t bytes) {
  if (!results_) results_ = pinned(kResults, "results");
  for (size_t done = 0; done < bytes;) {
    if (results_used_ == kResults) {  // full: this once the host waits
      check_cuda(cudaStreamSynchronize(stream_), "waiting for results");
      deliver();
    }
    const size_t part = std::min(bytes - done, kResults - results_used_);
    check_cuda(cudaMemcpyAsync(results_ + results_used_, static_cast<const char*>(device) + done, part, cudaMemcpyDeviceToHost, stream_),
               "reading results");
    pending_.push_back({static_cast<char*>(to) + done, results_used_, part});
    results_used_ += part;
    done += part;
  }
}

void Staging::deliver() {
  for (const Result& r : pending_) std::memcpy(r.to, results_ + r.offset, r.bytes);
  forget();
}

void Staging::forget() {
  pending_.clear();
  results_used_ = 0;
}

}  // namespace steerlab
