// The CUDA backend: one device, one stream, memory of its own; ops are thin calls of kernels.h.
//
// CudaMemory is the half without arithmetic (memory_ops.cu); CudaBackend<T> adds the ops for activations of type T, bf16 or
// float (row_ops.cu, linear_ops.cu, loss_ops.cu). Weights are bf16 for T = bf16; stored precision (bf16 or F32) otherwise.
// Workspaces of an op come from the pool and return to it before the op's kernels have run: one stream, call order.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "block_pool.h"
#include "cublaslt.h"
#include "kernels.h"
#include "op_times.h"
#include "staging.h"
#include "weight_arena.h"

namespace steerlab {

class CudaMemory : public Backend {
 public:
  CudaMemory(DType act, std::string device, size_t device_bytes);
  ~CudaMemory() override;

  const char* name() const override { return "cuda"; }
  DType act() const override { return act_; }
  std::string describe() const override;

  void* allocate(size_t bytes) override;
  // Also takes the data of a Weight from this backend: its memory is given back once its chunk of the arena is empty.
  void release(void* p) override;
  bool rows_independent() const override { return !cublaslt_ || act_ != DType::BF16; }
  bool weights_in_place() const override { return false; }
  void release_weight(const void* data) override { release(const_cast<void*>(data)); }
  void upload(void* dst, const void* host, size_t bytes) override;
  void download(void* host, const void* src, size_t bytes) override;
  void copy(void* dst, const void* src, size_t bytes) override;
  void zero(void* dst, size_t bytes) override;
  void synchronize() override;

  Weight load_matrix(const HostTensor& t) override;
  const float* load_vector(const HostTensor& t) override;
  Weight random_matrix(int out, int in, float std, uint64_t seed, uint32_t stream) override;

  // Ops, and below them what served them ("gemm.cublaslt", "attention.mma", ...), memory in bytes ("memory.peak", ...;
  // "memory.device" is all that the driver counts, other processes included), and with STEERLAB_CUDA_TIMES=1 device
  // microseconds by op ("time.linear", ...).
  std::string counters() const override;

 protected:
  // Device memory of one op, back in the pool at the end of the scope.
  class Workspace {
   public:
    Workspace(CudaMemory& owner, size_t bytes) : owner_(owner), data_(owner.allocate(bytes)) {}
    ~Workspace() { owner_.pool_->release(data_); }
    Workspace(const Workspace&) = delete;
    Workspace& operator=(const Workspace&) = delete;
    template <class S>
    S* as() const { return static_cast<S*>(data_); }

   private:
    CudaMemory& owner_;
    void* data_;
  };

  void count(const char* what) { ++counts_[what]; }
  // Counts an op, and times it on the device where that is asked for, until the end of the scope.
  class Timed {
   public:
    Timed(CudaMemory& owner, const char* op) : owner_(owner), pair_(owner.times_->begin(op)) { owner.count(op); }
    ~Timed() { owner_.times_->end(pair_); }
    Timed(const Timed&) = delete;
    Timed& operator=(const Timed&) = delete;

   private:
    CudaMemory& owner_;
    int pair_;
  };
  void product(const gpu::Gemm& g, DType weight, bool float_output);
  // y = round(x W^T + bias) in one go, biases given part by part (null: none). False, doing nothing, without cuBLASLt, and where a bias
  // is not a bf16 number, as those of an F32 checkpoint may be.
  bool product_with_bias(gpu::Gemm g, DType weight, const gpu::BiasParts& parts);
  void* weight_memory(size_t bytes);

  DType act_;
  bool lora_on_matrix_units_, attention_on_matrix_units_;  // STEERLAB_CUDA_LORA, STEERLAB_CUDA_ATTENTION=plain: not
  std::string device_, gemm_;
  cudaStream_t stream_ = nullptr;
  std::unique_ptr<BlockPool> pool_;
  std::unique_ptr<WeightArena> arena_;
  std::map<void*, size_t> plain_weights_;  // where the arena cannot serve
  std::map<std::pair<const void*, int>, bf16*> biases_;  // by weight and columns: neighbouring biases as one; null: not bf16 numbers
  std::unique_ptr<Staging> staging_;
  std::unique_ptr<CublasLt> cublaslt_;
  std::map<std::string, uint64_t> counts_;
  std::unique_ptr<OpTimes> times_;
};

template <class T>
class CudaBackend : public CudaMemory {
 public:
  CudaBackend(DType act, const std::string& device, size_t device_bytes) : CudaMemory(act, device, device_bytes) {}

  // row_ops.cu, linear_ops.cu, loss_ops.cu
  STEERLAB_OPS(STEERLAB_OVERRIDE)

 private:
  static T* acts(void* p) { return static_cast<T*>(p); }
  static const T* acts(const void* p) { return static_cast<const T*>(p); }
  void host_top_k(const Score& op, int k);
};

// "NVIDIA H200 sm_90" and its memory; implemented by the platform.
std::string device_name(size_t& memory_bytes);

}  // namespace steerlab
