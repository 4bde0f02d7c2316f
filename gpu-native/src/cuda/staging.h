// Host data on its way to the device and back, through pinned buffers, without making the host wait.
//
// Small uploads go through a ring of pinned slots: a call returns as soon as its bytes are copied into one, and waits only when the
// ring has come round to a slot still in flight. Large ones stream through two big buffers, filled by several threads. Results
// that the host wants "by the next wait" are copied into pinned memory and delivered by deliver().
#pragma once
#include <vector>

#include "platform.h"

namespace steerlab {

class Staging {
 public:
  explicit Staging(cudaStream_t stream) : stream_(stream) {}
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  void upload(void* dst, const void* host, size_t bytes);
  // Converts `count` elements of type `from` to T (bf16 or float) on the way; device memory for one chunk is held meanwhile.
  template <class T>
  void upload_converted(T* dst, const void* host, DType from, size_t count);

  // device -> host memory `to`, there after the next deliver(). The stream must be synchronised before deliver().
  void expect(void* to, const void* device, size_t bytes);
  void deliver();
  void forget();                                        // results that will never be delivered
  size_t pending() const { return pending_.size(); }

 private:
  struct Slot {
    char* memory = nullptr;
    cudaEvent_t sent = nullptr;
    bool used = false;
  };
  struct Result {
    void* to;
    size_t offset, bytes;
  };
  Slot& next_slot(std::vector<Slot>& ring, size_t& at, size_t count, size_t bytes);
  void mark_sent(Slot& slot);
  void release(std::vector<Slot>& ring);

  cudaStream_t stream_;
  std::vector<Slot> small_, large_;
  size_t at_small_ = 0, at_large_ = 0;
  void* convert_buffer_ = nullptr;
  char* results_ = nullptr;
  size_t results_used_ = 0;
  std::vector<Result> pending_;
};

}  // namespace steerlab
