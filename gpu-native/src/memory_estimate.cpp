#include "memory_estimate.h"

#include <algorithm>
#include <cstdio>

namespace steerlab {
namespace {

constexpr size_t kDriverContext = size_t(900) << 20;     // driver, module code, cuBLASLt's kernels: seen between 0.5 and 0.9 GB
constexpr size_t kMatrixWorkspace = size_t(32) << 20;    // cuBLASLt
constexpr double kPoolSlack = 0.08;                      // holes and rounding of the pool, as a share of what lives in it
constexpr size_t kArenaChunk = size_t(64) << 20;         // weights are committed in chunks of this size
constexpr size_t kLogitBytes = size_t(64) << 20;        // most logits that forward() holds at once (model.cpp)

size_t parameters(const ModelConfig& c) {
  size_t layer = 2 * static_cast<size_t>(c.hidden_size) + static_cast<size_t>(c.qkv_width());  // norms, q k v biases
  for (int p = 0; p < kProjections; ++p) layer += static_cast<size_t>(projection_in(c, p)) * static_cast<size_t>(projection_out(c, p));
  const size_t table = static_cast<size_t>(c.vocab_size) * static_cast<size_t>(c.hidden_size);
  return static_cast<size_t>(c.num_hidden_layers) * layer + table * (c.tie_word_embeddings ? 1 : 2) + static_cast<size_t>(c.hidden_size);
}

size_t lora_parameters(const ModelConfig& c, const WorkShape& w) {
  size_t layer = 0;
  for (int p = 0; p < kProjections; ++p)
    if (w.lora_targets[p]) layer += static_cast<size_t>(w.lora_rank) * static_cast<size_t>(projection_in(c, p) + projection_out(c, p));
  return layer * static_cast<size_t>(c.num_hidden_layers);
}

// Elements of the adapter gradients that one call of linear_backward forms: the largest group of projections that share an input.
size_t lora_group_elements(const ModelConfig& c, const WorkShape& w) {
  const int groups[][3] = {{kQ, kK, kV}, {kO, kO, kO}, {kGate, kUp, kUp}, {kDown, kDown, kDown}};
  size_t most = 0;
  for (const auto& group : groups) {
    size_t elements = 0;
    for (int i = 0; i < 3; ++i) {
      const int p = group[i];
      if (!w.lora_targets[p] || (i > 0 && p == group[i - 1])) continue;
      elements += static_cast<size_t>(w.lora_rank) * static_cast<size_t>(std::max(projection_in(c, p), projection_out(c, p)));
    }
    most = std::max(most, elements);
  }
  return most;
}

// Elements that one token has in the arenas x, qkv, att, x2, gate_up, swi.
size_t arena_elements(const ModelConfig& c) {
  return 2 * static_cast<size_t>(c.hidden_size) + static_cast<size_t>(c.qkv_width() + c.query_width()) + 3 * static_cast<size_t>(c.intermediate_size);
}

}  // namespace

MemoryEstimate estimate_memory(const ModelConfig& c, const WorkShape& w, DType act, DType stored, bool device) {
  MemoryEstimate e;
  const size_t a = bytes_of(act), m = act == DType::F64 ? 8 : 4, L = static_cast<size_t>(c.num_hidden_layers);
  const size_t C = static_cast<size_t>(c.hidden_size), F = static_cast<size_t>(c.intermediate_size), V = static_cast<size_t>(c.vocab_size);
  const size_t rows = static_cast<size_t>(w.rows), contexts = w.shared_context ? 1 : rows;
  const size_t tail = rows * static_cast<size_t>(w.question_tokens), own = contexts * static_cast<size_t>(w.context_tokens) + tail;
  const bool matching = w.training && w.match_positions > 0;
  const size_t N = matching ? 2 * own : own;  // every row and its base

  e.weights = parameters(c) * bytes_of(stored);
  if (device) e.weights = (e.weights + kArenaChunk - 1) / kArenaChunk * kArenaChunk;
  e.adapters = lora_parameters(c, w) * m * (w.training ? 4 : 1);

  const size_t kv_token = 2 * static_cast<size_t>(c.kv_width()) * a;
  e.kv = (N * (w.training ? L : 1) + static_cast<size_t>(w.kept_tokens) * L) * kv_token;

  const size_t u_token = static_cast<size_t>(w.lora_rank) * kProjections * m;  // one arena per projection, of the largest rank
  const size_t lse_token = w.training ? static_cast<size_t>(c.num_attention_heads) * m : 0;
  const size_t token = arena_elements(c) * a + u_token + lse_token;
  const size_t saved = w.training ? (L - 1) * tail : 0;
  e.activations = (N + saved) * token + 2 * N * C * a;      // + h, delta
  if (w.training) e.activations += 2 * L * tail * C * a;    // input_h, middle_h

  const size_t positions = rows * static_cast<size_t>(w.training ? std::max(1, w.match_positions) : std::max(1, w.question_tokens));
  size_t work = std::min(positions * V * m, std::max(kLogitBytes, V * m)) * (matching ? 2 : 1);
  if (w.training)  // dh, dx, datt, dswi, dgu, dqkv of backward.cpp
    work += tail * (2 * C + static_cast<size_t>(c.query_width() + c.qkv_width()) + 3 * F) * a;
  work += 2 * static_cast<size_t>(c.max_position_embeddings) * static_cast<size_t>(c.head_dim / 2) * 4;  // rotary tables
  if (device) {
    work += N * static_cast<size_t>(std::max(c.qkv_width(), c.hidden_size)) * 4;       // F32 sums before bias and adapters
    if (w.training) work += tail * std::max(C, F) * 4;                                 // F32 input gradients
    if (w.training) work += rows * lora_group_elements(c, w) * 4;                      // an example's adapter gradients
    work += static_cast<size_t>(kPoolSlack * static_cast<double>(e.adapters + e.kv + e.activations + work));
    work += kMatrixWorkspace;  // not from the pool
    e.context = kDriverContext;
  }
  e.workspace = work;
  return e;
}

std::string describe_estimate(const MemoryEstimate& e) {
  const struct {
    const char* name;
    size_t bytes;
  } lines[] = {{"weights", e.weights},         {"adapters", e.adapters},   {"keys and values", e.kv}, {"activations", e.activations},
               {"workspace", e.workspace}, {"driver context", e.context}, {"total", e.total()}};
  std::string text;
  for (const auto& line : lines) {
    char row[80];
    std::snprintf(row, sizeof row, "%-16s %8.2f GB\n", line.name, static_cast<double>(line.bytes) / 1e9);
    text += row;
  }
  return text;
}

}  // namespace steerlab
