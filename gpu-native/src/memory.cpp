#include "memory.h"

#include <algorithm>

#include "error.h"

namespace steerlab {

Backend& Memory::backend() const {
  if (!backend_) throw Error("disposed", "Expected a live model but it was disposed. Open the model again.");
  return *backend_;
}

void* Memory::allocate(size_t bytes) {
  void* p = backend().allocate(std::max<size_t>(bytes, 1));
  live_.insert(p);
  return p;
}

void Memory::release(void* p) noexcept {
  if (!backend_ || live_.erase(p) == 0) return;
  try {
    backend_->release(p);
  } catch (...) {
    // A device that fails while freeing has already reported through the call that broke it.
  }
}

void Memory::close() noexcept {
  if (!backend_) return;
  for (void* p : live_) {
    try {
      backend_->release(p);
    } catch (...) {
    }
  }
  live_.clear();
  backend_.reset();
}

DeviceBuffer::DeviceBuffer(std::shared_ptr<Memory> memory, size_t bytes) : memory_(std::move(memory)), size_(bytes) {
  data_ = memory_->allocate(bytes);
}

DeviceBuffer::DeviceBuffer(DeviceBuffer&& other) noexcept
    : memory_(std::move(other.memory_)), data_(other.data_), size_(other.size_) {
  other.data_ = nullptr;
  other.size_ = 0;
}

DeviceBuffer& DeviceBuffer::operator=(DeviceBuffer&& other) noexcept {
  if (this == &other) return *this;
  reset();
  memory_ = std::move(other.memory_);
  data_ = other.data_;
  size_ = other.size_;
  other.data_ = nullptr;
  other.size_ = 0;
  return *this;
}

void DeviceBuffer::reset() noexcept {
  if (data_ && memory_) memory_->release(data_);
  data_ = nullptr;
  size_ = 0;
  memory_.reset();
}

void* Scratch::get(const std::string& name, size_t bytes) {
  DeviceBuffer& slot = slots_[name];
  if (slot.size() < bytes || !slot.get()) {
    slot.reset();
    slot = DeviceBuffer(memory_, std::max<size_t>(bytes, 256));
  }
  return slot.get();
}

}  // namespace steerlab
