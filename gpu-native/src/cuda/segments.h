// Where a key of a sequence lies: the walk over its KV segments, and the order of a block's query items.
//
// Tiles are cut by key index 0 .. kv_len - 1, never at a segment's end, so an attention result does not depend on how a
// prefix is split into segments. Rows are the grid's y; items are (query, head) pairs of one KV head, query-major:
// item = query * G + head % G.
#pragma once
#include "../backend.h"
#include "../rng.h"

namespace steerlab {

// A grid has at most 65535 blocks in y: f(first, count) for as many launches as `rows` need.
constexpr int kMaxGridRows = 65535;
template <class F>
void for_grid_rows(int rows, F f) {
  for (int first = 0; first < rows; first += kMaxGridRows) f(first, rows - first < kMaxGridRows ? rows - first : kMaxGridRows);
}

struct KeyPlace {
  int segment;  // index from the row's first segment
  int offset;   // position inside it
};

// key in [0, sum of lengths)
STEERLAB_HD inline KeyPlace locate_key(const KvSegment* segments, int key) {
  int i = 0;
  while (key >= segments[i].len) key -= segments[i++].len;
  return {i, key};
}

// Number of keys that query i of a row sees.
STEERLAB_HD inline int visible_keys(const AttentionRow& row, int query) { return row.kv_len - row.q_len + query + 1; }

// First query that sees own key `own` (0 .. own_len - 1) of the last segment.
STEERLAB_HD inline int first_query_of(const AttentionRow& row, int own_len, int own) {
  const int i = own - (own_len - row.q_len);
  return i > 0 ? i : 0;
}

}  // namespace steerlab
