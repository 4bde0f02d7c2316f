// bf16 attention on the matrix units: the rows of a block are 16 items (query, head), the columns keys.
//
// Each warp keeps its own running maximum m, sum l and values o; at the end the four are merged in warp order by weights exp(m_w - max m).
// Scores and sums are F32. Tiles are cut by key index (segments.h), so bits do not depend on segments or on other rows.
#include "attention_mma.h"

#include "attention_mma_tile.h"

namespace steerlab::gpu {
namespace {

struct Args {
  bf16* out;
  float* lse;
  const bf16* q;
  int ldq;
  const AttentionRow* rows;
  const KvSegment* segments;
  HeadShape s;
  float scale;
};

// State of a warp: rows lane / 4 and lane / 4 + 8 of the items.
template <int kD>
struct State {
  float most[2], sum[2], o[kD / 8][4];
};

template <int kD>
__device__ void attend(State<kD>& st, const uint32_t (&q)[kD / 16][4], const bf16* stage, int tile, const int (&visible)[2], float scale) {
  const int lane = threadIdx.x % 32;
  float s[2][4] = {};
  multiply_tile<kD>(s, fragments_of(q), stage);
  float shrink[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float top = st.most[r];
    for (int j = 0; j < 2; ++j)
      for (int e = 2 * r; e < 2 * r + 2; ++e) {
        const int key = tile * kMmaColumns + j * 8 + mma_c_index(lane, e).col;
        s[j][e] = key < visible[r] ? s[j][e] * scale : -INFINITY;
        top = fmaxf(top, s[j][e]);
      }
    top = fmaxf(top, shuffle_xor(top, 1));  // the four lanes of a row
    top = fmaxf(top, shuffle_xor(top, 2));
    float added = 0.0f;
    for (int j = 0; j < 2; ++j)
      for (int e = 2 * r; e < 2 * r + 2; ++e) {
        s[j][e] = top == -INFINITY ? 0.0f : expf(s[j][e] - top);
        added += s[j][e];
      }
    added += shuffle_xor(added, 1);
    added += shuffle_xor(added, 2);
    shrink[r] = st.most[r] == -INFINITY ? 0.0f : expf(st.most[r] - top);
    st.most[r] = top;
    st.sum[r] = st.sum[r] * shrink[r] + added;
  }
#pragma unroll
  for (int n = 0; n < kD / 8; ++n)
    for (int e = 0; e < 4; ++e) st.o[n][e] *= shrink[e / 2];
  add_weighted<kD>(st.o, s, stage + MmaTiles<kD>::kTile);
}

// Adds up the four warps' states in order and writes the block's items.
template <int kD>
__device__ void merge(const State<kD>& st, float* memory, const Args& g, const AttentionRow& row, int first, int items, int kv_head) {
  __shared__ float most[kMmaWarps][kMmaRows], sum[kMmaWarps][kMmaRows];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, group = g.s.H / g.s.KVH;
  share_sums<kD>(st.o, memory);
  if (lane % 4 == 0)
    for (int r = 0; r < 2; ++r) {
      most[warp][lane / 4 + 8 * r] = st.most[r];
      sum[warp][lane / 4 + 8 * r] = st.sum[r];
    }
  __syncthreads();
  const int mine = threadIdx.x / 8, item = first + mine, part = threadIdx.x % 8;
  if (item >= items) return;
  float top = -INFINITY, total = 0.0f, weight[kMmaWarps];
  for (int w = 0; w < kMmaWarps; ++w) top = fmaxf(top, most[w][mine]);
  for (int w = 0; w < kMmaWarps; ++w) {
    weight[w] = most[w][mine] == -INFINITY ? 0.0f : expf(most[w][mine] - top);
    total += weight[w] * sum[w][mine];
  }
  const int64_t at = static_cast<int64_t>(row.out_row + item / group) * g.s.H + kv_head * group + item % group;
  for (int d = part * 4; d < kD; d += 32) {
    float v[4];
    sum_of_warps<kD>(v, memory, mine, d, weight);
    for (int e = 0; e < 4; ++e) v[e] /= total;
    store_quad(g.out + at * kD + d, v);
  }
  if (g.lse && part == 0) g.lse[at] = top + logf(total);
}

template <int kD>
__global__ void __launch_bounds__(kMmaThreads) mma_kernel(Args g) {
  DYNAMIC_SHARED(memory);
  const AttentionRow row = g.rows[blockIdx.y];
  const KvSegment* segments = g.segments + row.seg_begin;
  const int group = g.s.H / g.s.KVH, kv_head = blockIdx.z, items = row.q_len * group, first = blockIdx.x * kMmaRows;
  if (first >= items) return;
  const int lane = threadIdx.x % 32;

  uint32_t q[kD / 16][4];
  load_rows<kD>(q, [&](int i) -> const bf16* {
    const int item = first + i;
    return item < items ? g.q + static_cast<int64_t>(row.q_row + item / group) * g.ldq + (kv_head * group + item % group) * kD : nullptr;
  });
  State<kD> st = {{-INFINITY, -INFINITY}, {0.0f, 0.0f}, {}};
  int visible[2];
  for (int r = 0; r < 2; ++r) visible[r] = visible_keys(row, min(first + lane / 4 + 8 * r, items - 1) / group);
  const int keys = visible_keys(row, min(first + kMmaRows - 1, items - 1) / group);
  walk_tiles<kD>(
      reinterpret_cast<bf16*>(memory), tiles_of(keys),
      [&](bf16* stage, int tile) { fetch_keys<kD>(stage, segments, tile, keys, g.s.KVH, kv_head); },
      [&](const bf16* stage, int tile) { attend<kD>(st, q, stage, tile, visible, g.scale); });
  merge<kD>(st, reinterpret_cast<float*>(memory), g, row, first, items, kv_head);
}

}  // namespace

bool attention_mma(cudaStream_t s, const Attention& op) {
  const bool aligned = op.ldq % 2 == 0 && reinterpret_cast<uintptr_t>(op.q_base) % 4 == 0 && reinterpret_cast<uintptr_t>(op.out) % 8 == 0;
  if (!aligned) return false;
  const HeadShape heads = op.heads;
  const Args args{static_cast<bf16*>(op.out), static_cast<float*>(op.lse), static_cast<const bf16*>(op.q_base), op.ldq,
                  op.call.rows,               op.call.segments,            heads,                               1.0f / std::sqrt(static_cast<float>(heads.D))};
  return with_mma_width(heads.D, [&](auto width) {
    constexpr int kD = decltype(width)::value;
    const unsigned tiles = blocks_for(static_cast<size_t>(op.call.max_q_len) * (heads.H / heads.KVH), kMmaRows);
    for_grid_rows(op.call.n_rows, [&](int first, int count) {
      Args part = args;
      part.rows += first;
      LAUNCH(mma_kernel<kD>, dim3(tiles, count, heads.KVH), dim3(kMmaThreads), MmaTiles<kD>::kShared, s, part);
    });
  });
}

}  // namespace steerlab::gpu
