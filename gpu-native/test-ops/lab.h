// Bench of the op tests: one Backend plus typed buffers, deterministic inputs, poisoned outputs.
//
// All inputs are rounded to bf16 first, so that every number format starts from the same values and the f64 plain loops can
// serve as reference for all of them.
#pragma once
#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "../src/backend.h"
#include "../src/cpu/number.h"
#include "../src/rng.h"

namespace ops_test {

using namespace steerlab;
using Values = std::vector<double>;

// Normal-ish values (sum of four uniforms, unit variance), times scale, on the bf16 grid.
inline Values noise(size_t count, uint64_t seed, double scale = 1) {
  Values v(count);
  for (size_t i = 0; i < count; ++i) {
    const Philox4 w = philox(static_cast<uint32_t>(i), 7, 0, 0, seed);
    double sum = -2;
    for (uint32_t x : w.w) sum += x * 0x1p-32;
    v[i] = to_float(to_bf16(static_cast<float>(sum * 1.732 * scale)));
  }
  return v;
}

class Lab {
 public:
  explicit Lab(Backend& backend) : b(backend) {}
  ~Lab() {
    for (void* p : owned_) b.release(p);
  }
  Backend& b;

  void* act(const Values& v) { return put(v, b.act()); }
  void* master(const Values& v) { return put(v, b.master()); }
  float* f32(const Values& v) { return static_cast<float*>(put(v, DType::F32)); }
  int32_t* i32(const std::vector<int32_t>& v) { return static_cast<int32_t*>(raw(v.data(), v.size() * 4)); }
  void* raw(const void* host, size_t bytes) {
    void* p = take(bytes);
    b.upload(p, host, bytes);
    return p;
  }
  // All bits set: NaN in every format.
  void* poison(size_t count, DType t) {
    const std::vector<unsigned char> ones(count * bytes_of(t), 0xff);
    return raw(ones.data(), ones.size());
  }
  void* poison_act(size_t count) { return poison(count, b.act()); }
  void* poison_master(size_t count) { return poison(count, b.master()); }

  Values read(const void* p, size_t count, DType t) {
    std::vector<unsigned char> bytes(count * bytes_of(t));
    b.download(bytes.data(), p, bytes.size());
    Values v(count);
    for (size_t i = 0; i < count; ++i) {
      if (t == DType::F64) std::memcpy(&v[i], &bytes[8 * i], 8);
      else if (t == DType::F32) {
        float f;
        std::memcpy(&f, &bytes[4 * i], 4);
        v[i] = f;
      } else {
        Bf16 h;
        std::memcpy(&h, &bytes[2 * i], 2);
        v[i] = to_float(h);
      }
    }
    return v;
  }
  Values read_act(const void* p, size_t count) { return read(p, count, b.act()); }
  Values read_master(const void* p, size_t count) { return read(p, count, b.master()); }

  // A matrix as a checkpoint of type `stored` would hold it.
  Weight weight(const Values& v, int out, int in, DType stored) {
    host_.push_back(encode(v, stored));
    return b.load_matrix({host_.back().data(), stored, out, in});
  }

 private:
  static std::vector<unsigned char> encode(const Values& v, DType t) {
    std::vector<unsigned char> bytes(v.size() * bytes_of(t));
    for (size_t i = 0; i < v.size(); ++i) {
      const float f = static_cast<float>(v[i]);
      const Bf16 h = to_bf16(f);
      if (t == DType::F64) std::memcpy(&bytes[8 * i], &v[i], 8);
      else if (t == DType::F32) std::memcpy(&bytes[4 * i], &f, 4);
      else std::memcpy(&bytes[2 * i], &h, 2);
    }
    return bytes;
  }
  void* put(const Values& v, DType t) {
    const auto bytes = encode(v, t);
    return raw(bytes.data(), bytes.size());
  }
  void* take(size_t bytes) {
    owned_.push_back(b.allocate(bytes));
    return owned_.back();
  }
  std::vector<void*> owned_;
  std::vector<std::vector<unsigned char>> host_;
};

// One op at one shape: runs it on a backend and returns everything it wrote.
struct Case {
  std::string name;
  std::function<Values(Lab&)> run;
};

std::vector<Case> row_cases();
std::vector<Case> linear_cases();
std::vector<Case> attention_cases();
std::vector<Case> loss_cases();

}  // namespace ops_test
