// The kernels as host functions: each enqueues its work on a stream and returns. T is the activation type, bf16 or float.
//
// Semantics, shapes and rounding points are those of the op of the same name in ops.h; only what differs is said here.
// Each group lives in the .cu file named above it, with both instantiations.
#pragma once
#include "platform.h"

namespace steerlab::gpu {

// ---- rows.cu ----
template <class T, class W>
void embed(cudaStream_t s, const Embed& op);
template <class T>
void gather_rows(cudaStream_t s, const GatherRows& op);
template <class T>
void scatter_add_rows(cudaStream_t s, const ScatterAddRows& op);
template <class T>
void to_f32(cudaStream_t s, const ToF32& op);
template <class T>
void add(cudaStream_t s, const Add& op);
template <class T>
void swiglu(cudaStream_t s, const Swiglu& op);
template <class T>
void swiglu_backward(cudaStream_t s, const SwigluBackward& op);

// ---- convert.cu ----
// count elements of type `from` at src (any alignment of the element) to T.
template <class T>
void convert(cudaStream_t s, T* dst, const void* src, DType from, size_t count);
template <class T>
void random_normal(cudaStream_t s, T* dst, size_t count, float std, uint64_t seed, uint32_t stream);

// ---- norm.cu ----
template <class T>
void residual_norm(cudaStream_t s, const ResidualNorm& op);
template <class T>
void norm_backward(cudaStream_t s, const NormBackward& op);

// ---- rope.cu ----
template <class T>
void rope_store(cudaStream_t s, const RopeStore& op);
template <class T>
void rope_backward(cudaStream_t s, const RopeBackward& op);

// ---- attention.cu, attention_mma.cu, attention_backward.cu, attention_backward_mma.cu ----
// Return whether the matrix units served it; they are not asked unless `matrix_units`, nor for T = float.
template <class T>
bool attention(cudaStream_t s, const Attention& op, bool matrix_units);
// delta (total_q, H) F32: workspace for sum over d of dout * out.
template <class T>
bool attention_backward(cudaStream_t s, const AttentionBackward& op, float* delta, bool matrix_units);

// ---- mma_gemm.cu, tile_gemm.cu ----
// One matrix product of a frozen weight: y (n, cols) = x (n, depth) W^T (transposed false: W (cols, depth)) or x W (input gradient: W
// (depth, cols)). accumulate: y += (y F32 only).
// bias (cols): y = round(sum + bias), y bf16; cuBLASLt alone serves it.
struct Gemm {
  const void* x;
  const void* w;
  void* y;
  int n, cols, depth;
  int ldx, ldw, ldy;  // elements from one row to the next
  bool input_gradient;
  bool accumulate;
  const bf16* bias = nullptr;
};
// bf16 x bf16 on the matrix units; Y is bf16 or float. Returns false, doing nothing, where alignment forbids it.
template <class Y>
bool mma_gemm(cudaStream_t s, const Gemm& g);
// Any types, any shape and alignment, f32 arithmetic: the F32 mode and odd shapes.
template <class X, class W, class Y>
void tile_gemm(cudaStream_t s, const Gemm& g);

// ---- lora.cu, lora_mma.cu ----
constexpr int kMaxLaunchUses = 24;   // adapters described in one launch (by value)
constexpr int kMaxLaunchParts = 8;
struct LoraTask {
  int begin, end, r;
  float scaling, dropout;
  const float *a, *b;
  float* u;
  int y_col, out;
  uint32_t site;
  const float* bias;  // (out), or null
};
struct LoraTasks {
  int count;
  bool matrix_units;  // for T = bf16
  LoraTask task[kMaxLaunchUses];
};
// u = dropout(x) A^T for every task. x (n, in).
template <class T>
void lora_down(cudaStream_t s, const LoraTasks& tasks, const T* x, int in, const DropoutKey& key);
// y[:, y_col..] += scaling (u B^T + bias) in F32, rounded, for every task.
template <class T>
void lora_up(cudaStream_t s, const LoraTasks& tasks, T* y, int ldy);
struct BiasParts {
  int count;
  struct {
    int col, out;
    const float* bias;
  } part[kMaxLaunchParts];
};
// y = round(sum + bias): sum (n, ldsum) F32 -> y (n, ldy), over the columns of the parts (sum and y share column numbers).
template <class T>
void add_bias(cudaStream_t s, const BiasParts& parts, const float* sum, int ldsum, T* y, int ldy, int n);

// ---- lora_backward.cu, lora_mma.cu, lora_gradient_mma.cu ----
// du (n, r) = scaling dy B per task; du[i] of task i.
template <class T>
void lora_du(cudaStream_t s, const LoraTasks& tasks, float* const* du, const T* dy, int ldy, int n);
// dA += du^T dropout(x), dB += scaling dy^T u, example by example. da[i], db[i] may be null.
// partials (lora_partials(tasks, in, examples)) F32 workspace.
size_t lora_partials(const LoraTasks& tasks, int in, int examples);
template <class T>
void lora_gradients(cudaStream_t s, const LoraTasks& tasks, float* const* du, float* const* da, float* const* db, float* partials,
                    const T* dy, int ldy, const T* x, int in, const DropoutKey& key, const int32_t* example_offsets, int examples);
// dx = round(base + sum over tasks of dropout'(du A)): base (n, in) F32.
template <class T>
void lora_dx(cudaStream_t s, const LoraTasks& tasks, float* const* du, T* dx, const float* base, int n, int in,
             const DropoutKey& key);

// ---- head.cu ----
// out: device.
void label_loss(cudaStream_t s, LabelResult* out, const LabelLoss& op);
void match_loss(cudaStream_t s, double* out, const MatchLoss& op);
template <class T, class W>
void logits_backward_labels(cudaStream_t s, T* dx, const float* dlogits, const W* head, const int32_t* labels, int n, int V,
                            int C);
// partial (chunks(V), n, C) F32 workspace.
int logits_backward_chunks(int V);
template <class T, class W>
void logits_backward_full(cudaStream_t s, T* dx, float* partial, const float* dlogits, const W* head, int n, int V, int C);

// ---- optimizer.cu ----
int norm_partials(size_t count);
// norm (1) double on the device; partial (norm_partials(count)) double.
void gradient_norm(cudaStream_t s, double* norm, double* partial, const float* g, size_t count);
void adamw(cudaStream_t s, float* p, float* m, float* v, const float* g, size_t count, const AdamW& hyper, const double* norm);

// ---- reading.cu ----
constexpr int kMaxTopK = 1024;
void log_sum_exp(cudaStream_t s, double* out, const float* logits, int n, int V);
// out[k] = logit[row[k]][id[k]] - lse[row[k]]
void gather_logprobs(cudaStream_t s, double* out, const float* logits, const double* lse, const int32_t* ids,
                     const int32_t* rows, int count, int V);
// k <= min(V, kMaxTopK); rows of ids and logprobs are `stride` apart.
void top_k(cudaStream_t s, int32_t* ids, double* logprobs, const float* logits, const double* lse, int n, int V, int k, int stride);
// uniform (n): in [0, 1), from the caller's Philox; not read at temperature 0, which is a plain argmax.
void sample(cudaStream_t s, int32_t* tokens, const float* logits, const float* uniform, float temperature, float top_p, int n,
            int V);

}  // namespace steerlab::gpu
