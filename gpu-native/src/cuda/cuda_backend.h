// The CUDA backend: one device, one stream, memory of its own; ops are thin calls of kernels.h.
//
// CudaMemory is the half without arithmetic (memory_ops.cu); CudaBackend<T> adds the ops for activations of type T, bf16 or
// float (row_ops.cu, linear_ops.cu, loss_ops.cu). Weights are bf16 for T = bf16; stored precision (bf16 or F32) otherwise.
// Workspaces of an op come from the pool and return to it before the op's kernels have run: one stream, call order.
#pragma once
#include <list>
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
  class Op {
   public:
    Op(CudaMemory& owner, const char* name) : owner_(owner), pair_(owner.times_->begin(name)) { owner.count(name); }
    ~Op() { owner_.times_->end(pair_); }
    Op(const Op&) = delete;
    Op& operator=(const Op&) = delete;

   private:
    CudaMemory& owner_;
    int pair_;
  };
  // A small host table on the device, sent only when its numbers are not there yet: offsets are the same in all layers of a pass.
  const int32_t* constant(const int32_t* host, size_t size);
  void product(const gpu::Gemm& g, DType weight, bool float_output);
  DType kept_type(DType stored) const;
  void* weight_memory(size_t bytes);

  DType act_;
  std::string device_, gemm_;
  cudaStream_t stream_ = nullptr;
  std::unique_ptr<BlockPool> pool_;
  std::unique_ptr<WeightArena> arena_;
  std::map<void*, size_t> plain_weights_;  // where the arena cannot serve
  std::unique_ptr<Staging> staging_;
  std::unique_ptr<CublasLt> cublaslt_;
  std::map<std::string, uint64_t> counts_;
  std::unique_ptr<OpTimes> times_;
  struct Constant {
    std::vector<int32_t> values;
    void* device;
  };
  std::list<Constant> constants_;  // the one used last comes first
};

template <class T>
class CudaBackend : public CudaMemory {
 public:
  CudaBackend(DType act, const std::string& device, size_t device_bytes) : CudaMemory(act, device, device_bytes) {}

  // row_ops.cu
  void embed(void* h, const Weight& table, const int32_t* tokens, int n) override;
  void residual_norm(void* h, const void* delta, const SteerTable* steer, int layer, void* x, const float* weight, float eps,
                     int n, int C) override;
  void norm_backward(void* dh, const void* dx, const void* h, const float* weight, float eps, int n, int C) override;
  void swiglu(void* out, const void* gu, int n, int F) override;
  void swiglu_backward(void* dgu, const void* dout, const void* gu, int n, int F) override;
  void rope_store(void* qkv, void* k_new, void* v_new, const float* cos, const float* sin, const int32_t* positions,
                  const int32_t* slot, int n, HeadShape s) override;
  void rope_backward(void* dqkv, const float* cos, const float* sin, const int32_t* positions, int n, HeadShape s) override;
  void gather_rows(void* dst, const void* src, const int32_t* index, int n, int width) override;
  void scatter_add_rows(void* dst, const void* src, const int32_t* index, int n, int width) override;
  void to_f32(float* dst, const void* src, size_t count) override;
  void add(void* a, const void* b, size_t count) override;
  void attention(void* out, void* lse, const void* q_base, int ldq, const AttentionCall& call, HeadShape s) override;
  void attention_backward(void* dqkv, int n_tail, const int32_t* own_begin, const void* dout, const void* out, const void* lse,
                          const void* q_base, int ldq, const AttentionCall& call, HeadShape s) override;

  // linear_ops.cu
  void linear(void* y, int ldy, const void* x, int n, const LinearPart* parts, int n_parts, const DropoutKey* dropout) override;
  void linear_backward(void* dx, const void* dy, int ldy, const void* x, int n, const LinearPart* parts, const LoraGrad* grads,
                       int n_parts, const DropoutKey* dropout, const int32_t* example_offsets, int examples) override;
  void logits(void* logits, const void* x, const Weight& head, int n) override;

  // loss_ops.cu
  void logits_backward(void* dx, const void* dlogits, const Weight& head, const int32_t* labels, int n) override;
  void label_loss(LabelResult* host_out, void* dlogits, const void* logits, const int32_t* labels, const int32_t* targets,
                  float mass_weight, double scale, int n, int V) override;
  double optimizer_step(void* p, void* m, void* v, const void* g, size_t count, const AdamW& hyper) override;
  void score(const void* logits, int n, int V, const int32_t* host_ids, const int32_t* host_id_offsets, int top_k,
             double* host_logsumexp, double* host_id_logprobs, int32_t* host_top_ids, double* host_top_logprobs) override;
  void sample(int32_t* host_tokens, const void* logits, int n, int V, float temperature, float top_p,
              const SampleRow* host_rows) override;

 private:
  static T* acts(void* p) { return static_cast<T*>(p); }
  static const T* acts(const void* p) { return static_cast<const T*>(p); }
  void host_top_k(const float* logits, const double* lse, int n, int V, int k, int stride, int32_t* ids, double* logprobs);
};

// "NVIDIA H200 sm_90" and its memory; implemented by the platform.
std::string device_name(size_t& memory_bytes);

}  // namespace steerlab
