// One packed pass through the blocks of the model.
//
// Reads a PassPlan; leaves the final-normed residual stream of the wanted positions, kept keys and values, captures, and (training)
// the activations of the tail [tail_begin, N) of the pack.
//
// Sliding arenas: an activation that training must keep has one buffer of N + (L - 1) * tail rows. Block l writes at row
// (L - 1 - l) * tail, so that its tail lies just above everything that later blocks write: saved without a copy, while the context
// rows are overwritten. In inference tail = 0 and every block writes to the same place.
//
// Last block: keys and values for all, everything after attention only for plan.last_block ("wanted" rows, in its order).
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

  // ---- what the backward pass reads ----
  Arena x, qkv, att, lse, x2, gate_up, swi, u[kProjections];
  void* input_h(int layer) const { return saved_h(input_h_, layer); }    // (tail, C) residual stream entering the block
  void* middle_h(int layer) const { return saved_h(middle_h_, layer); }  // after attention; last block: wanted rows
  void* wanted_h() const { return wanted_h_; }                           // (wanted, C) leaving the last block
  const void* wanted_q() const { return wanted_q_; }
  AttentionCall layer_call(int layer) const;
  AttentionCall wanted_call() const { return wanted_call_; }
  AttentionCall tail_call(int layer) const;  // rows that begin at or after tail_begin, indices relative to the tail
  const DropoutKey& token_key() const { return token_key_; }
  const DropoutKey& wanted_key() const { return wanted_key_; }
  const int32_t* positions() const { return positions_; }
  int wanted_count() const { return static_cast<int>(plan_.last_block.size()); }
  int max_rank() const { return max_rank_; }

 private:
  // The rows that a stage of a block works on.
  struct Stage {
    void* h;
    int n;
    const std::vector<LoraRange>* lora;
    const DropoutKey* key;
    const SteerTable* steer;
  };

  void prepare_tables();
  void prepare_attention();
  void prepare_wanted();
  void prepare_storage();
  void prepare_captures();
  void allocate();
  void block(int layer);
  void mlp_and_residual(int layer, const Stage& stage, int n_after, void* next_x, const float* next_norm);
  void project(int layer, const std::vector<int>& projections, void* y, int ldy, const void* x, int n, const Stage& stage);
  std::vector<LoraRange> ranges_of(const std::vector<int32_t>& tokens) const;
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
  const int32_t *tokens_ = nullptr, *positions_ = nullptr, *leader_tokens_ = nullptr, *slots_ = nullptr, *wanted_tokens_ = nullptr;
  SteerTable steer_, wanted_steer_;
  DropoutKey token_key_, wanted_key_;
  std::vector<LoraRange> lora_, wanted_lora_;
  int max_rank_ = 0;

  const AttentionRow* attention_rows_ = nullptr;
  const AttentionRow* tail_rows_ = nullptr;
  const KvSegment* segments_ = nullptr;
  int segments_per_layer_ = 0;
  std::vector<AttentionRow> host_rows_, host_tail_;
  AttentionCall wanted_call_;

  void *h_ = nullptr, *delta_ = nullptr, *final_x_ = nullptr, *wanted_h_ = nullptr, *wanted_q_ = nullptr;
  void *input_h_ = nullptr, *middle_h_ = nullptr;

  std::vector<std::unique_ptr<KvStore>> stores_;  // per packed row
  std::vector<int> store_first_, store_end_;
  DeviceBuffer captured_;
};

}  // namespace steerlab
