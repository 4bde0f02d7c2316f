#include "memory.h"

#include <cstdlib>

#include "halves.h"
#include "loader.h"
#include "work.h"

namespace steerlab::bench {

std::shared_ptr<Backend> backend_on(bool matrix_units) {
  constexpr const char* kNames[] = {"STEERLAB_CUDA_LORA", "STEERLAB_CUDA_ATTENTION"};
  for (const char* name : kNames) setenv(name, matrix_units ? "" : "plain", 1);
  auto made = make_cuda_backend(DType::BF16);
  for (const char* name : kNames) unsetenv(name);
  return made;
}

Memory::~Memory() {
  try {
    for (void* p : taken_) b_.release(p);
    for (const void* p : drawn_) b_.release_weight(p);
  } catch (...) {  // a broken device; the failure that brought us here names the kernel
  }
}

void* Memory::take(size_t bytes) {
  taken_.push_back(b_.allocate(bytes));
  return taken_.back();
}

float* Memory::numbers(size_t count, double scale) {
  const std::vector<double> wide = some_numbers(static_cast<int64_t>(count), scale);
  return table(std::vector<float>(wide.begin(), wide.end()));
}

const void* Memory::halves(int rows, int width, uint32_t stream) {
  drawn_.push_back(b_.random_matrix(rows, width, 1.0f, stream, stream).data);
  return drawn_.back();
}

std::vector<float> read_floats(Backend& b, const void* data, size_t count) {
  std::vector<float> out(count);
  b.download(out.data(), data, count * sizeof(float));
  return out;
}

std::vector<float> read_halves(Backend& b, const void* data, size_t count) {
  std::vector<uint16_t> bits(count);
  b.download(bits.data(), data, count * 2);
  std::vector<float> out(count);
  for (size_t i = 0; i < count; ++i) out[i] = to_float(Bf16{bits[i]});
  return out;
}

}  // namespace steerlab::bench
