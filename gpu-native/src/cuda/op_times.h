// Device time per op: with STEERLAB_CUDA_TIMES=1 an event pair stands around each op, summed by op name at the next wait.
//
// Off (the default) it costs one comparison. An op that calls another is counted in both: "linear" holds its "product".
#pragma once
#include <map>
#include <string>
#include <vector>

#include "platform.h"

namespace steerlab {

class OpTimes {
 public:
  OpTimes(cudaStream_t stream, bool on) : stream_(stream), on_(on) {}
  ~OpTimes();
  OpTimes(const OpTimes&) = delete;
  OpTimes& operator=(const OpTimes&) = delete;

  // Marks the start of an op on the stream; gives what end() wants, -1 when off.
  int begin(const char* op);
  void end(int pair) noexcept;
  // Adds up what has run; the stream must be synchronised.
  void collect();
  std::string lines() const;  // "time.<op>=<microseconds>" per op

 private:
  struct Pair {
    const char* op = nullptr;
    cudaEvent_t from = nullptr, to = nullptr;
    bool ended = false;
  };
  cudaStream_t stream_;
  bool on_;
  std::vector<Pair> pairs_;  // events are used again after collect()
  size_t used_ = 0;
  std::map<std::string, double> microseconds_;
};

}  // namespace steerlab
