// The native contract (index.d.ts) as plain structs: what addon code fills and what the model gives back. Same field meanings.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "kv.h"
#include "lora.h"

namespace steerlab {

struct SteeringColumns {
  std::vector<float> vectors;  // (n, C)
  std::vector<int32_t> row, vector, layer_start, layer_end, span_start, span_end;
  std::vector<float> magnitude;
};

struct ReportRequest {
  bool wanted = false;
  std::vector<int32_t> rows;
  bool all_positions = false;
  std::vector<int32_t> last;  // of each row: how many of its last positions; empty: as all_positions says
  std::vector<int32_t> token_ids, token_offsets;
  int top_k = 0;
  bool full = false;
};

struct CaptureRequest {
  bool wanted = false;
  std::vector<int32_t> rows, layers;
  bool all_positions = false;
};

struct ForwardRequest {
  std::vector<int32_t> tokens, row_offsets, parent_row;
  std::vector<std::shared_ptr<const Cache>> parent_cache;
  std::vector<std::shared_ptr<const Adapter>> adapters;
  std::vector<int32_t> row_adapter;
  SteeringColumns steering;
  ReportRequest report;
  CaptureRequest capture;
  std::vector<uint8_t> keep_cache;
  bool share_layers = false;

  int rows() const { return static_cast<int>(row_offsets.size()) - 1; }
  int row_length(int r) const { return row_offsets[static_cast<size_t>(r) + 1] - row_offsets[static_cast<size_t>(r)]; }
};

struct ForwardResult {
  std::vector<std::shared_ptr<Cache>> caches;
  std::vector<double> log_sum_exp, logprobs, top_logprobs;
  std::vector<int32_t> top_ids;
  std::vector<float> all, captures;
  double token_layers = 0, shared_token_layers = 0;
};

struct GenerateRequest {
  ForwardRequest prompt;
  int max_tokens = 0;
  float temperature = 0, top_p = 1;
  std::vector<uint64_t> seeds;
  std::vector<int32_t> stop_ids;
};

struct GenerateResult {
  std::vector<int32_t> tokens, offsets;
  std::vector<uint8_t> stopped;
};

struct TrainerOptions {
  int r = 0;
  float alpha = 1, dropout = 0;
  std::vector<int> targets;
  float mass_weight = 0;
  uint64_t seed = 0;
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0, max_grad_norm = 0;
};

struct TrainBatch {
  std::vector<int32_t> context_tokens, context_offsets, question_tokens, question_offsets, labels, targets;
  std::vector<int32_t> match_positions;  // 0: label example
  std::vector<double> weights;
  SteeringColumns steering;
  int micro_batch = 0;
  std::shared_ptr<const Adapter> context_adapter;  // null: the trainer's own parameters
  int examples() const { return static_cast<int>(targets.size()); }
  bool matches(int example) const { return match_positions[static_cast<size_t>(example)] > 0; }
};

struct BatchResult {
  std::vector<double> loss, logprob, logmass;
  double grad_norm = 0;
  std::vector<double> gradients;  // only of gradients()
};

}  // namespace steerlab
