// What every CPU backend shares: host memory as device memory, weights mapped in place, threads, call counters.
// Ops are synchronous; plain.h implements them in plain loops, fast.h overrides them with vector kernels.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "../backend.h"
#include "number.h"
#include "pool.h"

namespace steerlab {

// 64-byte aligned memory that only grows; contents are lost when it grows.
class GrowingBuffer {
 public:
  GrowingBuffer() = default;
  ~GrowingBuffer();
  GrowingBuffer(const GrowingBuffer&) = delete;
  GrowingBuffer& operator=(const GrowingBuffer&) = delete;
  template <class T>
  T* get(size_t count) {
    return static_cast<T*>(grow(count * sizeof(T)));
  }

 private:
  void* grow(size_t bytes);
  void* data_ = nullptr;
  size_t size_ = 0;
};

class CpuBackend : public Backend {
 public:
  CpuBackend(DType act, int threads, std::string isa);
  ~CpuBackend() override;

  const char* name() const override { return "cpu"; }
  DType act() const override { return act_; }
  std::string describe() const override;

  void* allocate(size_t bytes) override;
  void release(void* p) override;
  void upload(void* dst, const void* host, size_t bytes) override;
  void download(void* host, const void* src, size_t bytes) override;
  void copy(void* dst, const void* src, size_t bytes) override;
  void zero(void* dst, size_t bytes) override;
  void synchronize() override {}

  Weight load_matrix(const HostTensor& t) override;
  const float* load_vector(const HostTensor& t) override;
  Weight random_matrix(int out, int in, float std, uint64_t seed, uint32_t stream) override;
  void release_weight(const void* data) override;

  std::string counters() const override;

 protected:
  void count(const char* op) { ++counts_[op]; }
  Pool& pool() { return pool_; }

 private:
  void* keep(size_t bytes);  // memory of a weight; one that lies in the checkpoint's mapping has none

  DType act_;
  std::string isa_;
  Pool pool_;
  std::unordered_map<void*, size_t> blocks_;  // size of every live allocation
  std::unordered_set<void*> kept_;
  std::map<std::string, uint64_t> counts_;
};

}  // namespace steerlab
