// A CUDA library (real or emulated) beside the plain CPU backend: mirrored buffers, random inputs, poisoned outputs, comparison.
#pragma once
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backend.h"
#include "cpu/plain.h"

namespace twin {

using namespace steerlab;

struct Buffer {
  void* cpu = nullptr;
  void* gpu = nullptr;
  size_t count = 0;
  DType type = DType::F32;
};

// Normal-ish numbers from Philox: sums of uniforms are enough here.
class Random {
 public:
  explicit Random(uint64_t seed) : seed_(seed) {}
  float uniform() { return uniform24(philox(next_++, 0, 0, 7, seed_).w[0]); }
  float normal() { return (uniform() + uniform() + uniform() + uniform() - 2.0f) * 1.7320508f; }
  int below(int n) { return static_cast<int>(uniform() * static_cast<float>(n)); }
  std::vector<float> normals(size_t n, float scale) {
    std::vector<float> v(n);
    for (float& x : v) x = scale * normal();
    return v;
  }

 private:
  uint64_t seed_;
  uint32_t next_ = 0;
};

class Twin {
 public:
  Twin(Backend& cpu, Backend& gpu, uint64_t seed) : cpu(cpu), gpu(gpu), random(seed) {}

  DType act() const { return gpu.act(); }
  bool half() const { return act() == DType::BF16; }
  double tolerance() const { return half() ? 4e-3 : 1e-5; }

  Buffer from(const std::vector<float>& values, DType type) {
    std::vector<char> bytes = encode(values, type);
    return mirror(bytes.data(), values.size(), type);
  }
  Buffer acts(size_t n, float scale = 1.0f) { return from(random.normals(n, scale), act()); }
  Buffer floats(size_t n, float scale = 1.0f) { return from(random.normals(n, scale), DType::F32); }
  Buffer poisoned(size_t n, DType type) {
    const std::vector<char> bytes(n * bytes_of(type), '\xff');
    return mirror(bytes.data(), n, type);
  }
  Buffer poisoned_acts(size_t n) { return poisoned(n, act()); }
  // Anything that is plain bytes: indices, tables.
  template <class S>
  std::pair<S*, S*> table(const std::vector<S>& v) {
    const size_t bytes = std::max<size_t>(1, v.size() * sizeof(S));
    S *a = static_cast<S*>(cpu.allocate(bytes)), *b = static_cast<S*>(gpu.allocate(bytes));
    cpu.upload(a, v.data(), v.size() * sizeof(S));
    gpu.upload(b, v.data(), v.size() * sizeof(S));
    return {a, b};
  }

  std::vector<float> read(Backend& backend, const void* data, size_t count, DType type) const {
    std::vector<char> bytes(count * bytes_of(type));
    backend.download(bytes.data(), data, bytes.size());
    std::vector<float> out(count);
    for (size_t i = 0; i < count; ++i) {
      if (type == DType::F32) std::memcpy(&out[i], &bytes[4 * i], 4);
      else {
        Bf16 v;
        std::memcpy(&v.bits, &bytes[2 * i], 2);
        out[i] = to_float(v);
      }
    }
    return out;
  }

  // Norm-relative difference gpu against cpu; NaN or a poisoned element never passes.
  void compare(const std::string& what, const Buffer& b, double tolerance) {
    const std::vector<float> want = read(cpu, b.cpu, b.count, b.type), got = read(gpu, b.gpu, b.count, b.type);
    double difference = 0, norm = 0;
    for (size_t i = 0; i < want.size(); ++i) {
      difference += std::pow(static_cast<double>(got[i]) - want[i], 2);
      norm += std::pow(static_cast<double>(want[i]), 2);
    }
    note(what, norm > 0 ? std::sqrt(difference / norm) : std::sqrt(difference), tolerance);
  }
  void compare(const std::string& what, const Buffer& b) { compare(what, b, tolerance()); }
  void note(const std::string& what, double error, double tolerance) {
    const bool ok = error <= tolerance;  // false for NaN
    if (!ok) ++failures;
    ++checks;
    std::printf("%s %s/%s error %.2e allowed %.2e\n", ok ? "ok  " : "FAIL", name.c_str(), what.c_str(), error, tolerance);
  }
  void expect(const std::string& what, bool ok) { note(what, ok ? 0 : 1, 0.5); }

  Backend& cpu;
  Backend& gpu;
  Random random;
  std::string name;
  int failures = 0, checks = 0;

 private:
  static std::vector<char> encode(const std::vector<float>& values, DType type) {
    std::vector<char> bytes(values.size() * bytes_of(type));
    for (size_t i = 0; i < values.size(); ++i) {
      const Bf16 h = to_bf16(values[i]);
      if (type == DType::F32) std::memcpy(&bytes[4 * i], &values[i], 4);
      else std::memcpy(&bytes[2 * i], &h.bits, 2);
    }
    return bytes;
  }
  Buffer mirror(const void* bytes, size_t count, DType type) {
    const size_t size = std::max<size_t>(1, count * bytes_of(type));
    Buffer b{cpu.allocate(size), gpu.allocate(size), count, type};
    cpu.upload(b.cpu, bytes, count * bytes_of(type));
    gpu.upload(b.gpu, bytes, count * bytes_of(type));
    return b;
  }
};

struct Case {
  const char* name;
  void (*run)(Twin&);
};
std::vector<Case> row_cases();
std::vector<Case> linear_cases();
std::vector<Case> attention_cases();
std::vector<Case> loss_cases();

}  // namespace twin
