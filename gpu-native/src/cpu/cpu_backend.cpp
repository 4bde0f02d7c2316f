// CpuBackend: memory, weights and counters. No arithmetic beyond number format conversion and random weights.
#include "cpu_backend.h"

#include <sys/mman.h>

#include <cstdlib>

#include "../error.h"
#include "../rng.h"

namespace steerlab {
namespace {

constexpr size_t kAlign = 256, kHugePage = size_t{2} << 20;

void* aligned_memory(size_t bytes) {
  const size_t align = bytes >= 2 * kHugePage ? kHugePage : kAlign;
  const size_t size = (std::max<size_t>(bytes, 1) + align - 1) / align * align;
  void* p = std::aligned_alloc(align, size);
  if (!p) throw Error("out-of-memory", "Expected " + std::to_string(bytes) + " bytes of memory but the system gave none. "
                                       "Use a smaller batch or a smaller model.");
#ifdef MADV_HUGEPAGE
  if (align == kHugePage) madvise(p, size, MADV_HUGEPAGE);
#endif
  return p;
}

template <class T>
T read_unaligned(const void* base, int64_t i) {
  T v;
  std::memcpy(&v, static_cast<const char*>(base) + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return v;
}

double element(const HostTensor& t, int64_t i) {
  switch (t.type) {
    case DType::F64: return read_unaligned<double>(t.data, i);
    case DType::F32: return read_unaligned<float>(t.data, i);
    case DType::BF16: return to_float(read_unaligned<Bf16>(t.data, i));
    case DType::F16: return half_to_float(read_unaligned<uint16_t>(t.data, i));
  }
  return 0;
}

void put(void* dst, DType type, int64_t i, double v) {
  if (type == DType::F64) static_cast<double*>(dst)[i] = v;
  else if (type == DType::F32) static_cast<float*>(dst)[i] = static_cast<float>(v);
  else static_cast<Bf16*>(dst)[i] = to_bf16(static_cast<float>(v));
}

}  // namespace

GrowingBuffer::~GrowingBuffer() { std::free(data_); }

void* GrowingBuffer::grow(size_t bytes) {
  if (bytes <= size_) return data_;
  std::free(data_);
  data_ = nullptr;
  size_ = 0;
  data_ = aligned_memory(bytes);
  size_ = bytes;
  return data_;
}

CpuBackend::CpuBackend(DType act, int threads, std::string isa) : act_(act), isa_(std::move(isa)), pool_(threads) {}

CpuBackend::~CpuBackend() {
  for (auto& block : blocks_) std::free(block.first);
  for (void* p : kept_) std::free(p);
}

std::string CpuBackend::describe() const {
  static const char* const names[] = {"f64", "f32", "bf16", "f16"};
  return "cpu " + isa_ + " " + names[static_cast<int>(act_)] + ", " + std::to_string(pool_.threads()) + " threads, own GEMM";
}

void* CpuBackend::allocate(size_t bytes) {
  void* p = aligned_memory(bytes);
  blocks_[p] = bytes;
  return p;
}

void CpuBackend::release(void* p) {
  if (!p) return;
  if (!blocks_.erase(p)) throw Error("internal", "Expected a pointer from allocate() but received another one.");
  std::free(p);
}

void CpuBackend::upload(void* dst, const void* host, size_t bytes) { if (bytes) std::memcpy(dst, host, bytes); }
void CpuBackend::download(void* host, const void* src, size_t bytes) { if (bytes) std::memcpy(host, src, bytes); }
void CpuBackend::copy(void* dst, const void* src, size_t bytes) { if (bytes) std::memmove(dst, src, bytes); }
void CpuBackend::zero(void* dst, size_t bytes) { if (bytes) std::memset(dst, 0, bytes); }

void* CpuBackend::keep(size_t bytes) {
  void* p = aligned_memory(bytes);
  kept_.insert(p);
  return p;
}

void CpuBackend::release_weight(const void* data) {
  const auto found = kept_.find(const_cast<void*>(data));
  if (found == kept_.end()) return;
  std::free(*found);
  kept_.erase(found);
}

Weight CpuBackend::load_matrix(const HostTensor& t) {
  const DType type = kept_type(act_, t.type);
  Weight w{nullptr, type, nullptr, static_cast<int>(t.rows), static_cast<int>(t.cols)};
  const bool aligned = reinterpret_cast<uintptr_t>(t.data) % bytes_of(type) == 0;
  if (type == t.type && aligned) {
    w.data = t.data;
    return w;
  }
  const int64_t count = t.rows * t.cols;
  void* owned = keep(static_cast<size_t>(count) * bytes_of(type));
  if (type == t.type) std::memcpy(owned, t.data, static_cast<size_t>(count) * bytes_of(type));
  else
    pool_.run_ranges(count, 1 << 16, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) put(owned, type, i, element(t, i));
    });
  w.data = owned;
  return w;
}

const float* CpuBackend::load_vector(const HostTensor& t) {
  const int64_t count = t.rows * t.cols;
  float* v = static_cast<float*>(keep(static_cast<size_t>(count) * sizeof(float)));
  for (int64_t i = 0; i < count; ++i) v[i] = static_cast<float>(element(t, i));
  return v;
}

Weight CpuBackend::random_matrix(int out, int in, float std, uint64_t seed, uint32_t stream) {
  Weight w{nullptr, kept_type(act_, act_), nullptr, out, in};
  const int64_t count = static_cast<int64_t>(out) * in;
  void* owned = keep(static_cast<size_t>(count) * bytes_of(w.type));
  pool_.run_ranges((count + 3) / 4, 1 << 14, [&](int64_t begin, int64_t end, int) {
    float z[4];
    for (int64_t q = begin; q < end; ++q) {
      normal_quad(z, static_cast<uint64_t>(q), stream, seed);
      for (int64_t i = 4 * q; i < 4 * q + 4 && i < count; ++i) put(owned, w.type, i, static_cast<double>(std) * z[i % 4]);
    }
  });
  w.data = owned;
  return w;
}

std::string CpuBackend::counters() const {
  std::string lines;
  for (const auto& c : counts_) lines += c.first + "=" + std::to_string(c.second) + "\n";
  return lines;
}

}  // namespace steerlab
