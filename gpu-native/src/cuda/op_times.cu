#include "op_times.h"

#include <cmath>

namespace steerlab {

OpTimes::~OpTimes() {
  for (const Pair& p : pairs_) {
    cudaEventDestroy(p.from);
    cudaEventDestroy(p.to);
  }
}

int OpTimes::begin(const char* op) {
  if (!on_) return -1;
  if (used_ == pairs_.size()) {
    Pair made;
    check_cuda(cudaEventCreateWithFlags(&made.from, 0), "event");
    check_cuda(cudaEventCreateWithFlags(&made.to, 0), "event");
    pairs_.push_back(made);
  }
  Pair& p = pairs_[used_];
  p.op = op;
  p.ended = false;
  check_cuda(cudaEventRecord(p.from, stream_), "event");
  return static_cast<int>(used_++);
}

void OpTimes::end(int pair) noexcept {
  if (pair < 0) return;
  Pair& p = pairs_[static_cast<size_t>(pair)];
  p.ended = cudaEventRecord(p.to, stream_) == cudaSuccess;
}

// An op may wait itself (optimizer_step): pairs still open stay for the next time.
void OpTimes::collect() {
  size_t open = 0;
  for (size_t i = 0; i < used_; ++i) {
    float milliseconds = 0;
    if (!pairs_[i].ended) open = i + 1;
    else if (pairs_[i].op && cudaEventElapsedTime(&milliseconds, pairs_[i].from, pairs_[i].to) == cudaSuccess)
      microseconds_[pairs_[i].op] += 1e3 * static_cast<double>(milliseconds);
    if (pairs_[i].ended) pairs_[i].op = nullptr;  // counted
  }
  used_ = open;
}

std::string OpTimes::lines() const {
  std::string text;
  for (const auto& t : microseconds_) text += "time." + t.first + "=" + std::to_string(std::llround(t.second)) + "\n";
  return text;
}

}  // namespace steerlab
