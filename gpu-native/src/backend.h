// The seam: every operation the Qwen2 model, the planner and the trainer need from a device.
//
// model.cpp, train.cpp and friends are written once against this interface; cpu/ and cuda/ implement it. An op takes one struct of
// arguments and means what ops.h says beside that struct. Ops are enqueued in call order; only download(), synchronize(), score(),
// sample() and optimizer_step() wait for results.
#pragma once
#include <memory>
#include <string>

#include "ops.h"

namespace steerlab {

class Backend {
 public:
  virtual ~Backend() = default;
  virtual const char* name() const = 0;  // "cpu", "cuda"
  virtual DType act() const = 0;
  DType master() const { return act() == DType::F64 ? DType::F64 : DType::F32; }
  virtual std::string describe() const = 0;  // ISA or device, threads, GEMM source

  // True where not even a matrix product lets the rows beside a row, or their number, show in its last bits.
  virtual bool rows_independent() const { return true; }

  // ---- memory ----
  virtual void* allocate(size_t bytes) = 0;  // 256-byte aligned; throws Error("out-of-memory")
  virtual void release(void* p) = 0;         // after all ops enqueued so far
  virtual void upload(void* dst, const void* host, size_t bytes) = 0;  // host may be reused on return
  virtual void download(void* host, const void* src, size_t bytes) = 0;  // waits
  virtual void copy(void* dst, const void* src, size_t bytes) = 0;
  virtual void zero(void* dst, size_t bytes) = 0;
  virtual void synchronize() = 0;

  // ---- weights ----
  // Adopts a checkpoint matrix: mapped in place where type and alignment allow, converted or uploaded otherwise.
  // F64/F32 act keeps the stored precision (F16 widens to F32); BF16 act stores BF16. The backend owns what it makes.
  virtual Weight load_matrix(const HostTensor& t) = 0;
  virtual const float* load_vector(const HostTensor& t) = 0;  // norm weights, biases: (rows * cols) F32
  // Normal(0, std) weights of the backend's storage type, element i from the stream (seed, stream): for measuring shapes.
  virtual Weight random_matrix(int out, int in, float std, uint64_t seed, uint32_t stream) = 0;

  // Gives back the data of a Weight or a vector of load_vector, after all ops enqueued so far; data that lies in the checkpoint's
  // mapping is left alone.
  virtual void release_weight(const void* data) = 0;
  // True where load_matrix may adopt the mapping itself, which must then outlive the model.
  virtual bool weights_in_place() const { return true; }

#define STEERLAB_ABSTRACT(name, Arguments) virtual void name(const Arguments& op) = 0;
  STEERLAB_OPS(STEERLAB_ABSTRACT)
#undef STEERLAB_ABSTRACT

  // How often each op ran since creation, as "name=count" lines: tests prove the fast path ran.
  virtual std::string counters() const = 0;
};

// threads 0: all cores. isa "": best found; or one of "amx", "avx512bf16", "avx512", "avx2", "neon", "plain".
std::unique_ptr<Backend> make_cpu_backend(DType act, int threads, const std::string& isa);

}  // namespace steerlab
