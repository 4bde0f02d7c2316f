// Ownership of device memory: Memory remembers every allocation of one model, DeviceBuffer owns one, Scratch keeps growing ones.
//
// close() frees everything at once (model disposed); buffers that outlive it, such as caches waiting for the garbage collector,
// then find their pointer gone and do nothing. All of it is used on the engine's own thread only.
#pragma once
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "backend.h"

namespace steerlab {

class Memory {
 public:
  explicit Memory(std::shared_ptr<Backend> backend) : backend_(std::move(backend)) {}
  ~Memory() { close(); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  Backend& backend() const;  // throws "disposed" after close()
  bool open() const { return backend_ != nullptr; }
  void* allocate(size_t bytes);
  void release(void* p) noexcept;
  void close() noexcept;

 private:
  std::shared_ptr<Backend> backend_;
  std::unordered_set<void*> live_;
};

class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  DeviceBuffer(std::shared_ptr<Memory> memory, size_t bytes);
  ~DeviceBuffer() { reset(); }
  DeviceBuffer(DeviceBuffer&& other) noexcept;
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept;
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;

  void* get() const { return data_; }
  char* bytes_at(size_t offset) const { return static_cast<char*>(data_) + offset; }
  size_t size() const { return size_; }
  void reset() noexcept;

 private:
  std::shared_ptr<Memory> memory_;
  void* data_ = nullptr;
  size_t size_ = 0;
};

// Named workspaces that only grow: the same call shapes do not allocate again.
class Scratch {
 public:
  explicit Scratch(std::shared_ptr<Memory> memory) : memory_(std::move(memory)) {}

  // At least `bytes` bytes; contents undefined; valid until the next get() of this name asks for more.
  void* get(const std::string& name, size_t bytes);

  // Uploads host data into the workspace `name`; null for an empty array.
  template <typename T>
  const T* upload(const std::string& name, const T* host, size_t count) {
    if (count == 0) return nullptr;
    void* p = get(name, count * sizeof(T));
    memory_->backend().upload(p, host, count * sizeof(T));
    return static_cast<const T*>(p);
  }

 private:
  std::shared_ptr<Memory> memory_;
  std::unordered_map<std::string, DeviceBuffer> slots_;
};

}  // namespace steerlab
