// Device memory of one piece of work, and the backends it runs on.
#pragma once
#include <memory>
#include <vector>

#include "backend.h"

namespace steerlab::bench {

// A CUDA backend in bf16 whose adapters and attention use the matrix units or, for comparison, the F32 units
// (STEERLAB_CUDA_LORA, STEERLAB_CUDA_ATTENTION=plain).
std::shared_ptr<Backend> backend_on(bool matrix_units);

// What is taken, until the end of the scope.
class Memory {
 public:
  explicit Memory(Backend& b) : b_(b) {}
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  void* take(size_t bytes);
  template <class S>
  S* table(const std::vector<S>& v) {
    void* p = take(v.size() * sizeof(S));
    b_.upload(p, v.data(), v.size() * sizeof(S));
    return static_cast<S*>(p);
  }
  // F32 of about Normal(0, scale^2)
  float* numbers(size_t count, double scale);
  // bf16 of about Normal(0, 1), drawn on the device
  const void* halves(int rows, int width, uint32_t stream);

 private:
  Backend& b_;
  std::vector<void*> taken_;
  std::vector<const void*> drawn_;
};

std::vector<float> read_floats(Backend& b, const void* data, size_t count);
std::vector<float> read_halves(Backend& b, const void* data, size_t count);

}  // namespace steerlab::bench
