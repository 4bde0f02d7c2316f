// The arguments of every operation of the seam (backend.h), and the list of them: STEERLAB_OPS.
//
// Where memory lies: a pointer in an argument struct is device memory from allocate() (on the CPU: host memory); a HostSpan or a
// reference is host memory.
//
// Shape letters (house-wide): N packed tokens of a pass, C hidden_size, H query heads, KVH key/value heads,
// D head_dim, F intermediate_size, V vocab_size, r LoRA rank. Matrices are row-major (rows, columns).
//
// Number formats: `act` is the activation type of the backend (F64, F32 or BF16). `master` is F64 when act is F64 and
// F32 otherwise: LoRA parameters, their gradients, u = x A^T, logits, losses and optimizer state use it. Sums are
// accumulated in at least F32. BF16 rounds where transformers rounds: see each op.
//
// Determinism: the same call gives the same bytes, whatever the thread count, and the result of a row depends on nothing but the
// row. Excepted are a library's matrix products (Backend::rows_independent()): we give cuBLASLt one algorithm per bucket of row
// counts (cuda/gemm_source.h), so a row may change in the last bits with the bucket, and with N itself where that algorithm does not hold. STEERLAB_BATCH_INVARIANT=1
// does without the library.
#pragma once
#include <cstddef>
#include <cstdint>
#include <utility>

namespace steerlab {

enum class DType : int32_t { F64 = 0, F32 = 1, BF16 = 2, F16 = 3 };

inline size_t bytes_of(DType t) { return t == DType::F64 ? 8 : t == DType::F32 ? 4 : 2; }

// The type in which a matrix stored as `stored` is kept for activations of type `act`: BF16 stays, F16 widens.
inline DType kept_type(DType act, DType stored) {
  if (act == DType::BF16 || stored == DType::BF16) return DType::BF16;
  return act == DType::F64 && stored == DType::F64 ? DType::F64 : DType::F32;
}

// `count` elements of host memory that someone else owns.
template <class T>
struct HostSpan {
  T* data = nullptr;
  int count = 0;
  HostSpan() = default;
  HostSpan(T* first, int elements) : data(first), count(elements) {}
  template <class Owner, class = decltype(std::declval<Owner&>().size())>
  HostSpan(Owner& owner) : data(owner.data()), count(static_cast<int>(owner.size())) {}  // a vector or the like, not a temporary
  template <class E, size_t n>
  HostSpan(E (&array)[n]) : data(array), count(static_cast<int>(n)) {}
  T& operator[](int64_t i) const { return data[i]; }
  T* begin() const { return data; }
  T* end() const { return data + count; }
};

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
// y += scaling * (dropout(x) A^T B^T + bias) with A (r, in), B (out, r), bias (out) or null, all master type. u (end - begin, r),
// master type, receives dropout(x) A^T, unscaled. dropout is a probability; kept elements are multiplied by 1 / (1 - dropout).
struct LoraUse {
  int begin = 0, end = 0, r = 0;
  float scaling = 1, dropout = 0;
  const void* a = nullptr;
  const void* b = nullptr;
  void* u = nullptr;
  const void* bias = nullptr;  // of a finished adapter (PEFT's lora_bias); a trainer has none
};

// One projection of a group that shares the input x; its output fills columns [y_col, y_col + w->out) of y.
struct LinearPart {
  const Weight* w = nullptr;
  int y_col = 0;
  HostSpan<const LoraUse> lora = {};  // ranges ascending, disjoint
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

// ---- forward ----

// h[t] = table[tokens[t]]; h (n, C) act.
struct Embed {
  void* h;
  const Weight& table;
  const int32_t* tokens;
  int n;
};

// h += delta (if delta); steering of `layer` (if steer); x = h / sqrt(mean(h^2) + eps) * weight (if x).
// h, delta, x (n, C) act; weight F32 (C). BF16: sum rounded; normalised value rounded before the weight, product rounded.
struct ResidualNorm {
  void* h;
  const void* delta = nullptr;
  const SteerTable* steer = nullptr;  // host struct of device tables
  int layer = 0;
  void* x = nullptr;
  const float* weight = nullptr;
  float eps = 0;
  int n, C;
};

// y[:, part.y_col...] = x W^T + bias + LoRA for each part. x (n, in) act, y (n, ldy) act. n may be 0.
// BF16: x W^T + bias rounded, then the LoRA term is added in F32 and rounded (as PEFT).
struct Linear {
  void* y;
  int ldy;
  const void* x;
  int n;
  HostSpan<const LinearPart> parts;
  const DropoutKey* dropout = nullptr;  // host struct of device tables
};

// qkv (n, (H + 2 KVH) D) act: rotates q in place; writes rotated k and v to k_new / v_new (slots, KVH, D).
// Rotation pairs (i, i + D/2), angle of positions[t]; cos, sin F32 (max position + 1, D/2); BF16 rounds cos and sin.
// slot (n): where token t goes; null = t.
struct RopeStore {
  void *qkv, *k_new, *v_new;
  const float *cos, *sin;
  const int32_t* positions;
  const int32_t* slot = nullptr;
  int n;
  HeadShape heads;
};

// Causal grouped-query attention with scale 1/sqrt(D). q = first H*D columns of q_base (rows of width ldq).
// out (total_q, H D) act; lse (total_q, H) master = log sum exp of the scaled scores, or null.
struct Attention {
  void* out;
  void* lse = nullptr;
  const void* q_base;
  int ldq;
  const AttentionCall& call;
  HeadShape heads;
};

// out = silu(gate) * up; gu (n, 2F) = [gate | up], out (n, F). BF16: silu rounded before the product.
struct Swiglu {
  void* out;
  const void* gu;
  int n, F;
};

// dst[i] = src[index[i]], rows of `width` elements of act type; index (n). dst and src may be one buffer when the written rows are
// none of the read ones.
struct GatherRows {
  void* dst;
  const void* src;
  const int32_t* index;
  int n, width;
};

// dst[index[i]] += src[i], in the order of i.
struct ScatterAddRows {
  void* dst;
  const void* src;
  const int32_t* index;
  int n, width;
};

// act -> F32, for captures.
struct ToF32 {
  float* dst;
  const void* src;
  size_t count;
};

// logits (n, V) master = x W^T.
struct Logits {
  void* logits;
  const void* x;
  const Weight& head;
  int n;
};

// ---- loss and backward (names mirror forward) ----

// Natural logarithms over the whole vocabulary.
struct LabelResult {
  double loss;       // pair cross-entropy + mass_weight * (-log mass)
  double logprob[2]; // log p(label 0), log p(label 1)
  double logmass;    // log(p(label 0) + p(label 1))
};

// Loss of row i: pair cross-entropy of `target` over the two labels + mass_weight * (-log mass); mass_weight 1 is the
// full-vocabulary cross-entropy. dlogits (n, V) may alias logits and gets scale[i] * d loss / d logits; null when only the
// result is wanted. labels (n, 2), targets (n), scale (n) F64.
// out (n) is filled by the next download() or synchronize(); on return it may not be there yet.
struct LabelLoss {
  HostSpan<LabelResult> out;
  void* dlogits = nullptr;
  const void* logits;
  const int32_t *labels, *targets;
  const double* scale;
  float mass_weight;
  int n, V;
};

// Divergence of row i from the distribution of another row, in nats: KL(P || Q) = sum over V of P (log P - log Q) with P = softmax(base)
// and Q = softmax(logits). dlogits (n, V) may alias logits and gets scale[i] * (Q - P); null when only the result is wanted.
// base (n, V) master; scale (n) F64. Equal rows give exactly 0. out (n) is filled as in LabelLoss.
struct MatchLoss {
  HostSpan<double> out;
  void* dlogits = nullptr;
  const void *logits, *base;
  const double* scale;
  int n, V;
};

// dx (n, C) act = dlogits W. labels given: only those two columns are non-zero (cheap path).
struct LogitsBackward {
  void* dx;
  const void* dlogits;
  const Weight& head;
  const int32_t* labels = nullptr;
  int n;
};

// dh (n, C) += d/dh of x = rms_norm(h) * weight, given dx. h is the value after residual and steering.
struct NormBackward {
  void* dh;
  const void *dx, *h;
  const float* weight;
  float eps;
  int n, C;
};

struct SwigluBackward {
  void* dgu;
  const void *dout, *gu;
  int n, F;
};

// dx (n, in) act = sum over parts of dy_part W + LoRA terms (overwritten); grads[i] of parts[i] accumulated.
// dy (n, ldy) act; x as in forward; each part's LoraUse holds the u saved by forward.
// dB += scaling dy^T u; du = scaling dy B; dA += du^T dropout(x); dx += dropout'(du A).
// Sums over tokens run example by example (example_offsets (examples + 1)), each example's partial sum formed first and
// then added, so that gradients do not depend on how a batch is split. dx null: not wanted (first layer).
struct LinearBackward {
  void* dx = nullptr;
  const void* dy;
  int ldy;
  const void* x = nullptr;  // read where a part has an adapter
  int n;
  HostSpan<const LinearPart> parts;
  HostSpan<const LoraGrad> grads;
  const DropoutKey* dropout = nullptr;
  const int32_t* example_offsets;
  int examples;
};

// dqkv (n_tail, (H + 2 KVH) D) act, overwritten (all columns, zero where no gradient flows). For each row only the LAST segment
// (the row's own tokens) receives key and value gradients; earlier segments are constants. dqkv row of own token j of a row
// is own_begin[row] + j, own length = length of the last segment; its query i is own token
// own_len - q_len + i. dout, out (total_q, H D); lse from forward; q_base, ldq, call as in forward.
struct AttentionBackward {
  void* dqkv;
  int n_tail;
  const int32_t* own_begin;
  const void *dout, *out, *lse, *q_base;
  int ldq;
  const AttentionCall& call;
  HeadShape heads;
};

// In place on dqkv: inverse rotation of the q and k columns.
struct RopeBackward {
  void* dqkv;
  const float *cos, *sin;
  const int32_t* positions;
  int n;
  HeadShape heads;
};

// a += b, `count` act elements.
struct Add {
  void* a;
  const void* b;
  size_t count;
};

struct AdamW {
  double lr, beta1, beta2, eps, weight_decay, max_grad_norm;  // max_grad_norm <= 0: no clipping
  int64_t step;  // 1-based, for bias correction
};

// Clips g to max_grad_norm (torch: coefficient max / (norm + 1e-6), at most 1), then torch's AdamW on p, m, v; all (count)
// master. norm: of the gradient before clipping. Waits.
struct OptimizerStep {
  void *p, *m, *v;
  const void* g;
  size_t count;
  AdamW hyper;
  double& norm;
};

// ---- reading logits; waits ----

// logsumexp (n); id_logprobs: for row i ids[id_offsets[i] .. id_offsets[i+1]); top (n, top_k) sorted by logprob, ties by lower id.
struct Score {
  const void* logits;
  int n, V;
  HostSpan<const int32_t> ids, id_offsets;  // no ids: none wanted
  int top_k = 0;
  HostSpan<double> logsumexp, id_logprobs;
  HostSpan<int32_t> top_ids;
  HostSpan<double> top_logprobs;
};

struct SampleRow {
  uint64_t seed;
  uint32_t position;  // counter: the position being sampled
};

// temperature 0: argmax (ties: lower id). Otherwise softmax(logits / temperature) restricted to the smallest set of tokens,
// by falling probability (ties: lower id), whose mass reaches top_p. Uniform from Philox(seed, position). tokens, rows (n).
// kNoToken where a row has a NaN or its greatest logit is not finite.
constexpr int32_t kNoToken = -1;
struct Sample {
  HostSpan<int32_t> tokens;
  const void* logits;
  int n, V;
  float temperature, top_p;
  HostSpan<const SampleRow> rows;
};

// Every op of the seam, once: its name and its arguments.
#define STEERLAB_OPS(OP)                     \
  OP(embed, Embed)                           \
  OP(residual_norm, ResidualNorm)            \
  OP(linear, Linear)                         \
  OP(rope_store, RopeStore)                  \
  OP(attention, Attention)                   \
  OP(swiglu, Swiglu)                         \
  OP(gather_rows, GatherRows)                \
  OP(scatter_add_rows, ScatterAddRows)       \
  OP(to_f32, ToF32)                          \
  OP(logits, Logits)                         \
  OP(label_loss, LabelLoss)                  \
  OP(match_loss, MatchLoss)                  \
  OP(logits_backward, LogitsBackward)        \
  OP(norm_backward, NormBackward)            \
  OP(swiglu_backward, SwigluBackward)        \
  OP(linear_backward, LinearBackward)        \
  OP(attention_backward, AttentionBackward)  \
  OP(rope_backward, RopeBackward)            \
  OP(add, Add)                               \
  OP(optimizer_step, OptimizerStep)          \
  OP(score, Score)                           \
  OP(sample, Sample)
#define STEERLAB_OVERRIDE(name, Arguments) void name(const Arguments& op) override;

}  // namespace steerlab
