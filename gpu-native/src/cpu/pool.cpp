// Pool: see pool.h for the protocol.
#include "pool.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace steerlab {
namespace {

constexpr uint32_t kOpen = 1u << 15, kJoined = kOpen - 1, kJob = 1u << 16;
constexpr int kSpins = 2000;  // about 20 to 80 microseconds

inline void pause_cpu() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

Pool::Pool(int threads) {
  if (threads <= 0) threads = static_cast<int>(std::thread::hardware_concurrency());
  if (threads < 1) threads = 1;
  for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { work(i); });
}

Pool::~Pool() {
  stop_.store(true);
  gate_.fetch_add(kJob);
  gate_.notify_all();
  for (std::thread& t : workers_) t.join();
}

void Pool::drain(int worker) {
  for (int64_t i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < tasks_;) call_(context_, i, worker);
}

void Pool::dispatch(int64_t tasks, Call call, const void* context) {
  call_ = call;
  context_ = context;
  tasks_ = tasks;
  next_.store(0, std::memory_order_relaxed);
  left_.store(0, std::memory_order_relaxed);
  gate_.store(((gate_.load(std::memory_order_relaxed) & ~(kJob - 1)) + kJob) | kOpen, std::memory_order_release);
  gate_.notify_all();
  drain(0);
  const uint32_t joined = gate_.fetch_and(~kOpen, std::memory_order_acq_rel) & kJoined;
  for (int spin = 0;; ++spin) {
    const uint32_t left = left_.load(std::memory_order_acquire);
    if (left == joined) return;
    if (spin < kSpins) pause_cpu();
    else left_.wait(left, std::memory_order_acquire);
  }
}

void Pool::work(int worker) {
  uint32_t seen = 0;  // job number of the last gate this worker looked at
  for (;;) {
    uint32_t gate = gate_.load(std::memory_order_acquire);
    for (int spin = 0; (gate & ~(kJob - 1)) == seen; ++spin) {
      if (spin < kSpins) pause_cpu();
      else gate_.wait(gate, std::memory_order_acquire);
      gate = gate_.load(std::memory_order_acquire);
    }
    if (stop_.load()) return;
    seen = gate & ~(kJob - 1);
    bool joined = false;
    while ((gate & kOpen) && (gate & ~(kJob - 1)) == seen && !joined)
      joined = gate_.compare_exchange_weak(gate, gate + 1, std::memory_order_acq_rel, std::memory_order_acquire);
    if (!joined) continue;  // over already, or a newer job is there: look again
    drain(worker);
    left_.fetch_add(1, std::memory_order_acq_rel);
    left_.notify_one();
  }
}

}  // namespace steerlab
