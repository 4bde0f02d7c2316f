// One packed pass through the blocks of the model.
//
// Reads a PassPlan; leaves the final-normed residual stream of the wanted positions, kept keys and values, captures, and (training)
// the activations of the tail [tail_begin, N) of the pack.
//
// Sliding arenas: an activation that training must keep has one buffer of N + (L - 1) * tail rows. Block l writes at row
// (L - 1 - l) * tail, so that its tail lies just above everything that later blocks write: saved without a copy, while the context
// rows are overwritten. In inference tail = 0 and every block writes to the same place.
//
// Last block: keys and values for all tokens, everything after attention only for plan.last_block (the "wanted" tokens).
#pragma once
#include <memory>
#include <vector>

#include "model.h"
#include "plan.h"

namespace steerlab {

// Where the pass writes keys and values: token i of packed row r goes to slot slot_base[r] + held[r] + i.
struct KvTarget {
  void* k = nullptr;
  void* v = nullptr;
  size_t layer_bytes = 0;  // from one layer to the next; 0: one place for all
  std::vector<int32_t> slot_base, held;
};

struct Dropout {
  float p = 0;
  uint64_t seed = 0;
  uint32_t step = 0;
  std::vector<int32_t> token_example;  // (N) ordinal within the step
};

struct PassOptions {
  int tail_begin = -1;                 // >= 0: keep activations of the tokens from here on
  const Dropout* dropout = nullptr;    // null: none
  const KvTarget* target = nullptr;    // null: own workspace
  double progress_done = 0, progress_total = 0;  // in blocks; total 0: L
};

struct Arena {
  char* base = nullptr;
  size_t row_bytes = 0;
  int layers = 0, shift = 0;
  void* at(int layer, int row = 0) const {
    return base + (static_cast<size_t>(layers - 1 - layer) * shift + static_cast<size_t>(row)) * row_bytes;
  }
};

struct LoraRange {
  int begin, end, adapter;
};

// Packed tokens in ascending order that a stage of a block works on, one row each: all of the pass, or the wanted ones.
struct TokenSet {
  int n = 0;
  int tail = 0;       // rows from here on are tokens of the tail; n: none
  void* h = nullptr;  // (n, C) residual stream
  const int32_t* positions = nullptr;  // (n) device
  std::vector<LoraRange> lora;
  DropoutKey key;
  SteerTable steer;
  // One row per run of neighbouring tokens of a packed row; its own keys end with the run. The tail's rows count from the tail on.
  // A run has as many segments in one layer as in any other: one table of rows serves all layers.
  std::vector<AttentionRow> runs, tail_runs;
  const AttentionRow *device_runs = nullptr, *device_tail_runs = nullptr;
  const KvSegment* segments = nullptr;  // device, [layer - first_layer][segment]
  int first_layer = 0, segments_per_layer = 0;

  AttentionCall call(int layer, int count) const { return bounded(layer, runs, device_runs, count); }
  AttentionCall tail_call(int layer) const { return bounded(layer, tail_runs, device_tail_runs, static_cast<int>(tail_runs.size())); }

 private:
  AttentionCall bounded(int layer, const std::vector<AttentionRow>& host, const AttentionRow* device, int count) const;
};

class Pass {
 public:
  Pass(Model& model, const ForwardRequest& request, const PassPlan& plan, const PassOptions& options);
  void run(const Job& job);

  // Row of final_rows() that holds a packed token of plan.last_block.
  int wanted_row(int32_t token) const;
  const void* final_rows() const { return final_x_; }

  // Request order; null where keep_cache is 0. Valid after run().
  std::vector<std::shared_ptr<Cache>> caches() const;
  // (positions, layers, C) on the host; waits.
  std::vector<float> captures() const;

  // ---- what the backward pass reads; arenas have one row per row of the block's token set ----
  Arena x, qkv, att, lse, x2, gate_up, swi, u[kProjections];
  void* input_h(int layer) const { return saved_h(input_h_, layer); }    // (tail, C) residual stream entering the block
  void* middle_h(int layer) const { return saved_h(middle_h_, layer); }  // (tail rows of the block's set, C) after attention
  const void* wanted_q() const { return wanted_q_; }                     // (wanted, qkv width)
  const TokenSet& all() const { return all_; }
  const TokenSet& wanted() const { return plan_.last_block_all ? all_ : wanted_; }

 private:
  void prepare_tables();
  void prepare_storage();
  void prepare_captures();
  void allocate();
  // Tables named after `name`; attention from `first_layer` on.
  TokenSet token_set(const std::string& name, const std::vector<int32_t>& tokens, int first_layer);
  void block(int layer);
  void mlp_and_residual(int layer, const TokenSet& set, int n, int n_after, void* next_x, const float* next_norm);
  void project(int layer, const std::vector<int>& projections, void* y, int ldy, const void* x, int n, const TokenSet& set);
  std::vector<KvSegment> segments_of(int layer, int row, int own_len) const;
  void store_blocks(int layer);
  void capture(int layer, const void* h);
  void* saved_h(void* base, int layer) const;
  size_t act_bytes(int64_t elements) const { return static_cast<size_t>(elements) * bytes_of(be_.act()); }
  bool saving() const { return options_.tail_begin >= 0; }
  int tail() const { return saving() ? plan_.count() - options_.tail_begin : 0; }

  Model& model_;
  Backend& be_;
  Scratch& scratch_;
  const ForwardRequest& request_;
  const PassPlan& plan_;
  PassOptions options_;
  const ModelConfig& c_;

  KvTarget target_;
  const int32_t *tokens_ = nullptr, *leader_tokens_ = nullptr, *slots_ = nullptr, *wanted_tokens_ = nullptr, *entry_offsets_ = nullptr;
  const float* vectors_ = nullptr;
  int max_rank_ = 0;
  TokenSet all_, wanted_;
  void *h_ = nullptr, *delta_ = nullptr, *final_x_ = nullptr, *wanted_q_ = nullptr;
  void *input_h_ = nullptr, *middle_h_ = nullptr;

  std::vector<std::unique_ptr<KvStore>> stores_;  // per packed row
  std::vector<int> store_first_, store_end_;
  DeviceBuffer captured_;
};

}  // namespace steerlab
