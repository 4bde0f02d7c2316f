// Packs the rows of a request into one pass and finds out which rows may share layers.
//
// Reads a ForwardRequest; gives packed tokens, steering entries in packed indices, the positions that the last block must still
// compute, and for each row the block up to which a leader row computes for it.
//
// Sharing: rows with equal tokens, adapter and prefix are one row until something differs. Row f follows leader g through blocks
// 0 .. fork, fork = min(first steered block of f and of g, last block whose prefix keys and values are the same blocks, L - 2).
// Leaders come first, followers by ascending fork, so the active rows of every block are a growing prefix of the pack.
#pragma once
#include <vector>

#include "request.h"

namespace steerlab {

struct PlanRow {
  int source = 0;           // row of the request
  int begin = 0, len = 0;   // own tokens in the pack
  int first_position = 0;   // of the first own token in its sequence
  int parent = -1;          // packed row that it continues
  const Cache* prefix = nullptr;
  int adapter = -1;
  int leader = 0;  // packed row; itself when it leads
  int fork = -1;   // last block that the leader computes for it; -1: none
};

struct PassPlan {
  std::vector<PlanRow> rows;
  std::vector<int> packed_of;  // request row -> packed row
  std::vector<int32_t> tokens, positions, token_row;
  std::vector<SteerEntry> entries;            // grouped by packed row
  std::vector<int32_t> entry_offsets;         // (rows + 1)
  std::vector<char> steered_layer;            // (L) any entry touches it
  std::vector<int32_t> reported;              // packed token of every reported position, in the order of the request
  std::vector<int32_t> captured;              // packed token of every captured position, likewise
  std::vector<int32_t> last_block;            // packed tokens that must pass the last block, ascending
  bool last_block_all = false;

  int count() const { return static_cast<int>(tokens.size()); }
  int rows_after(int layer) const;    // rows that are separate at the end of block `layer`; -1: before the first block
  int tokens_after(int layer) const;  // their tokens
  // The row that carries row `r` through block `layer`.
  int carrier(int r, int layer) const { return layer > rows[static_cast<size_t>(r)].fork ? r : rows[static_cast<size_t>(r)].leader; }
};

// Throws "bad-request", "bad-token", "bad-layer", "bad-span", "too-long": whatever would make the pass read outside its memory.
void check_request(const ForwardRequest& request, const ModelConfig& config);
// `reserve`: positions beyond the own tokens that must still fit (generation).
PassPlan make_plan(const ForwardRequest& request, const ModelConfig& config, int reserve = 0);

}  // namespace steerlab
