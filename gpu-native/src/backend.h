// The seam: every operation the Qwen2 model, the planner and the trainer need from a device.
//
// model.cpp, train.cpp and friends are written once against this interface; cpu/ and cuda/ implement it. An op is
// enqueued in call order; only download(), synchronize(), score(), sample() and optimizer_step() wait for results.
// All pointers named `void*` are device memory from allocate() (on the CPU: host memory). "host" marks host memory.
//
// Shape letters (house-wide): N packed tokens of a pass, C hidden_size, H query heads, KVH key/value heads,
// D head_dim, F intermediate_size, V vocab_size, r LoRA rank. Matrices are row-major (rows, columns).
//
// Number formats: `act` is the activation type of the backend (F64, F32 or BF16). `master` is F64 when act is F64 and
// F32 otherwise: LoRA parameters, their gradients, u = x A^T, logits, losses and optimizer state use it. Sums are
// accumulated in at least F32. BF16 rounds where transformers rounds: see each op.
//
// Determinism: the same call gives the same bytes, whatever the thread count. On the CPU, and on CUDA with own matrix products
// (F32, or STEERLAB_BATCH_INVARIANT=1), a row's result depends on nothing but the row. With cuBLASLt it may change in the last
// bits with the bucket of row counts that N falls into (cuda/gemm_source.h), never with the other rows' values.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace steerlab {

enum class DType : int32_t { F64 = 0, F32 = 1, BF16 = 2, F16 = 3 };

inline size_t bytes_of(DType t) { return t == DType::F64 ? 8 : t == DType::F32 ? 4 : 2; }

// A tensor as it lies in a checkpoint: `data` points into a read-only mapping that outlives the model.
struct HostTensor {
  const void* data;
  DType type;
  int64_t rows, cols;  // vectors: rows = 1
};

// A frozen matrix on the device, y = x W^T + bias. `data` (out, in); bias F32 (out) or null.
struct Weight {
  const void* data = nullptr;
  DType type = DType::F32;
  const float* bias = nullptr;
  int out = 0, in = 0;
};

// Key of the counter-based dropout stream. An element's mask depends only on
// (seed, step, site, example, position, column): replayable in backward, independent of batch split and threads.
struct DropoutKey {
  uint64_t seed = 0;
  uint32_t step = 0;
  const int32_t* token_example = nullptr;   // (n) device: ordinal of the example within the optimizer step
  const int32_t* token_position = nullptr;  // (n) device: position in its sequence (question continues the context)
};

// One adapter on one projection over the tokens [begin, end) of the call.
// y += scaling * dropout(x) A^T B^T with A (r, in), B (out, r), both master type. u (end - begin, r), master type, receives
// dropout(x) A^T, unscaled. dropout is a probability; kept elements are multiplied by 1 / (1 - dropout).
struct LoraUse {
  int begin = 0, end = 0, r = 0;
  float scaling = 1, dropout = 0;
  const void* a = nullptr;
  const void* b = nullptr;
  void* u = nullptr;
};

// One projection of a group that shares the input x; its output fills columns [y_col, y_col + w->out) of y.
struct LinearPart {
  const Weight* w = nullptr;
  int y_col = 0;
  const LoraUse* lora = nullptr;  // host array; ranges ascending, disjoint
  int n_lora = 0;
  uint32_t site = 0;  // dropout site: layer * 7 + projection index (q k v o gate up down)
};

// Gradients of the LoRA pair of one LinearPart (its single LoraUse must cover all n tokens). Accumulated (+=).
struct LoraGrad {
  void* a = nullptr;  // (r, in) master, or null when the projection has no adapter
  void* b = nullptr;  // (out, r) master
};

// Steering of a pass: residual[t] += magnitude * vectors[vector] for every entry whose layers and tokens contain (layer, t).
// Entries of one row apply in order. BF16: magnitude * vector is rounded, then the sum is rounded. Magnitude 0 is skipped.
struct SteerEntry {
  int32_t layer_start, layer_end;  // half-open
  int32_t token_begin, token_end;  // half-open, packed token indices
  int32_t vector;
  float magnitude;
};
struct SteerTable {
  const int32_t* token_row = nullptr;    // (N) device: row of each packed token
  const int32_t* row_offsets = nullptr;  // (rows + 1) device: entries of a row
  const SteerEntry* entries = nullptr;   // device
  const float* vectors = nullptr;        // (n, C) device, F32
};

// Keys and values of a run of consecutive positions: k, v (len, KVH, D) of act type, contiguous.
struct KvSegment {
  const void* k;
  const void* v;
  int32_t len;
  int32_t reserved;
};

// Queries q_row .. q_row + q_len - 1 of one sequence. Its keys are segments [seg_begin, seg_begin + seg_count) end to end,
// kv_len in total; query i stands at position kv_len - q_len + i and sees the keys up to and including that position.
struct AttentionRow {
  int32_t q_row, q_len;
  int32_t out_row;  // first row of `out` (and of lse)
  int32_t seg_begin, seg_count;
  int32_t kv_len;
};
struct AttentionCall {
  int n_rows = 0;
  const AttentionRow* rows = nullptr;    // (n_rows) device
  const KvSegment* segments = nullptr;   // device
  int max_q_len = 0, max_kv_len = 0, total_q = 0;  // host-known bounds
};

struct HeadShape {
  int H, KVH, D;
};

// Per-example result of label_loss, natural logarithms over the whole vocabulary.
struct LabelResult {
  double loss;       // pair cross-entropy + mass_weight * (-log mass)
  double logprob[2]; // log p(label 0), log p(label 1)
  double logmass;    // log(p(label 0) + p(label 1))
};

struct AdamW {
  double lr, beta1, beta2, eps, weight_decay, max_grad_norm;  // max_grad_norm <= 0: no clipping
  int64_t step;  // 1-based, for bias correction
};

struct SampleRow {
  uint64_t seed;
  uint32_t position;  // counter: the position being sampled
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual const char* name() const = 0;  // "cpu", "cuda"
  virtual DType act() const = 0;
  DType master() const { return act() == DType::F64 ? DType::F64 : DType::F32; }
  virtual std::string describe() const = 0;  // ISA or device, threads, GEMM source

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

  // ---- forward ----
  // h[t] = table[tokens[t]]; h (n, C) act.
  virtual void embed(void* h, const Weight& table, const int32_t* tokens, int n) = 0;

  // h += delta (if delta); steering of `layer` (if steer); x = h / sqrt(mean(h^2) + eps) * weight (if x).
  // h, delta, x (n, C) act; weight F32 (C). BF16: sum rounded; normalised value rounded before the weight, product rounded.
  virtual void residual_norm(void* h, const void* delta, const SteerTable* steer, int layer, void* x, const float* weight,
                             float eps, int n, int C) = 0;

  // y[:, part.y_col...] = x W^T + bias + LoRA for each part. x (n, in) act, y (n, ldy) act. n may be 0.
  // BF16: x W^T + bias rounded, then the LoRA term is added in F32 and rounded (as PEFT).
  virtual void linear(void* y, int ldy, const void* x, int n, const LinearPart* parts, int n_parts,
                      const DropoutKey* dropout) = 0;

  // qkv (n, (H + 2 KVH) D) act: rotates q in place; writes rotated k and v to k_new / v_new (slots, KVH, D).
  // Rotation pairs (i, i + D/2), angle of positions[t]; cos, sin F32 (max position + 1, D/2); BF16 rounds cos and sin.
  // slot (n) device: where token t goes; null = t.
  virtual void rope_store(void* qkv, void* k_new, void* v_new, const float* cos, const float* sin, const int32_t* positions,
                          const int32_t* slot, int n, HeadShape s) = 0;

  // Causal grouped-query attention with scale 1/sqrt(D). q = first H*D columns of q_base (rows of width ldq).
  // out (total_q, H D) act; lse (total_q, H) master = log sum exp of the scaled scores, or null.
  virtual void attention(void* out, void* lse, const void* q_base, int ldq, const AttentionCall& call, HeadShape s) = 0;

  // out = silu(gate) * up; gu (n, 2F) = [gate | up], out (n, F). BF16: silu rounded before the product.
  virtual void swiglu(void* out, const void* gu, int n, int F) = 0;

  // dst[i] = src[index[i]], rows of `width` elements of act type; index (n) device. dst and src may be one buffer when the
  // written rows are none of the read ones.
  virtual void gather_rows(void* dst, const void* src, const int32_t* index, int n, int width) = 0;
  virtual void scatter_add_rows(void* dst, const void* src, const int32_t* index, int n, int width) = 0;  // dst[index[i]] += src[i]
  virtual void to_f32(float* dst, const void* src, size_t count) = 0;  // act -> F32, for captures (dst device)

  // logits (n, V) master = x W^T.
  virtual void logits(void* logits, const void* x, const Weight& head, int n) = 0;

  // ---- loss and backward (names mirror forward) ----
  // host out[i] is filled by the next download() or synchronize(); on return it may not be there yet.
  // Loss of example i: pair cross-entropy of `target` over the two labels + mass_weight * (-log mass); mass_weight 1 is the
  // full-vocabulary cross-entropy. dlogits (n, V) may alias logits and gets scale * d loss / d logits; null when only the
  // result is wanted. labels (n, 2), targets (n): device.
  virtual void label_loss(LabelResult* host_out, void* dlogits, const void* logits, const int32_t* labels,
                          const int32_t* targets, float mass_weight, double scale, int n, int V) = 0;
  // dx (n, C) act = dlogits W. labels given: only those two columns are non-zero (cheap path).
  virtual void logits_backward(void* dx, const void* dlogits, const Weight& head, const int32_t* labels, int n) = 0;

  // dh (n, C) += d/dh of x = rms_norm(h) * weight, given dx. h is the value after residual and steering.
  virtual void norm_backward(void* dh, const void* dx, const void* h, const float* weight, float eps, int n, int C) = 0;

  virtual void swiglu_backward(void* dgu, const void* dout, const void* gu, int n, int F) = 0;

  // dx (n, in) act = sum over parts of dy_part W + LoRA terms (overwritten); grads[i] of parts[i] accumulated.
  // dy (n, ldy) act; x as in forward; each part's LoraUse holds the u saved by forward.
  // dB += scaling dy^T u; du = scaling dy B; dA += du^T dropout(x); dx += dropout'(du A).
  // Sums over tokens run example by example (example_offsets (examples + 1), host), each example's partial sum formed first and
  // then added, so that gradients do not depend on how a batch is split. dx null: not wanted (first layer).
  virtual void linear_backward(void* dx, const void* dy, int ldy, const void* x, int n, const LinearPart* parts,
                               const LoraGrad* grads, int n_parts, const DropoutKey* dropout,
                               const int32_t* example_offsets, int examples) = 0;

  // dqkv (n_tail, (H + 2 KVH) D) act, overwritten (all columns, zero where no gradient flows). For each row only the LAST segment
  // (the row's own tokens) receives key and value gradients; earlier segments are constants. dqkv row of own token j of a row
  // is own_begin[row] + j (host array), own length = length of the last segment; its query i is own token
  // own_len - q_len + i. dout, out (total_q, H D); lse from forward; q_base, ldq, call as in forward.
  virtual void attention_backward(void* dqkv, int n_tail, const int32_t* own_begin, const void* dout, const void* out,
                                  const void* lse, const void* q_base, int ldq, const AttentionCall& call, HeadShape s) = 0;

  // In place on dqkv: inverse rotation of the q and k columns.
  virtual void rope_backward(void* dqkv, const float* cos, const float* sin, const int32_t* positions, int n, HeadShape s) = 0;

  // a += b, `count` act elements.
  virtual void add(void* a, const void* b, size_t count) = 0;

  // Clips g to max_grad_norm (torch: coefficient max / (norm + 1e-6), at most 1), then torch's AdamW on p, m, v; all (count)
  // master. Returns the gradient norm before clipping. Waits.
  virtual double optimizer_step(void* p, void* m, void* v, const void* g, size_t count, const AdamW& hyper) = 0;

  // ---- reading logits; host results, waits ----
  // logsumexp (n); id_logprobs: for row i ids[id_offsets[i] .. id_offsets[i+1]); top (n, k) sorted by logprob, ties by lower id.
  virtual void score(const void* logits, int n, int V, const int32_t* host_ids, const int32_t* host_id_offsets, int top_k,
                     double* host_logsumexp, double* host_id_logprobs, int32_t* host_top_ids, double* host_top_logprobs) = 0;
  // temperature 0: argmax (ties: lower id). Otherwise softmax(logits / temperature) restricted to the smallest set of tokens,
  // by falling probability (ties: lower id), whose mass reaches top_p. Uniform from Philox(seed, position).
  virtual void sample(int32_t* host_tokens, const void* logits, int n, int V, float temperature, float top_p,
                      const SampleRow* host_rows) = 0;

  // How often each op ran since creation, as "name=count" lines: tests prove the fast path ran.
  virtual std::string counters() const = 0;
};

// threads 0: all cores. isa "": best found; or one of "amx", "avx512bf16", "avx512", "avx2", "neon", "plain".
std::unique_ptr<Backend> make_cpu_backend(DType act, int threads, const std::string& isa);

}  // namespace steerlab
