// Causal grouped-query attention over lists of KV segments, F32 arithmetic, one pass with a running softmax.
//
// Block: 16 items (query, head) of one row and KV head; keys come by tiles of 32 through shared memory and serve all heads of
// the group. Running maximum m, sum l and weighted values o are rescaled by exp(m_old - m_new) (Milakov and Gimelshein 2018).
// A key beyond the query's position gets weight 0. Tiles are cut by key index, see segments.h.
#include <type_traits>

#include "attention_mma.h"
#include "attention_tile.h"
#include "reduce.h"

namespace steerlab::gpu {
namespace {

template <class T>
struct Args {
  T* out;
  float* lse;
  const T* q;
  int ldq;
  const AttentionRow* rows;
  const KvSegment* segments;
  HeadShape s;
  float scale;
};

template <class T, int kD>
__global__ void __launch_bounds__(kAttentionThreads) attention_kernel(Args<T> g) {
  DYNAMIC_SHARED(memory);
  using Tile = VectorTile<kD>;
  const Tile q{reinterpret_cast<float*>(memory)}, k{q.data + kRowTile * Tile::kStride}, v{k.data + kColTile * Tile::kStride};
  float* weights = v.data + kColTile * Tile::kStride;  // (16, 33)

  const AttentionRow row = g.rows[blockIdx.y];
  const KvSegment* segments = g.segments + row.seg_begin;
  const int group = g.s.H / g.s.KVH, kv_head = blockIdx.z, D = g.s.D, items = row.q_len * group;
  const int first = blockIdx.x * kRowTile;
  if (first >= items) return;
  const int part = threadIdx.x % 8, own = threadIdx.x / 8, item = first + own;  // the item whose softmax this thread shares
  const int query = item / group, head = kv_head * group + item % group;
  load_vector(q, own, part,
              item < items ? g.q + static_cast<int64_t>(row.q_row + query) * g.ldq + head * D : static_cast<const T*>(nullptr), D,
              g.scale);

  const int last_query = min(first + kRowTile - 1, items - 1) / group, keys = visible_keys(row, last_query);
  const int64_t kv_width = static_cast<int64_t>(g.s.KVH) * D;
  float most = -INFINITY, sum = 0.0f, o[kD / 32][4] = {};
  for (int key0 = 0; key0 < keys; key0 += kColTile) {
    __syncthreads();  // the last tile is read
    for (int r = threadIdx.x / 8; r < kColTile; r += kAttentionThreads / 8) {
      const T *from_k = nullptr, *from_v = nullptr;
      if (key0 + r < keys) {
        const KeyPlace at = locate_key(segments, key0 + r);
        const int64_t offset = at.offset * kv_width + kv_head * D;
        from_k = static_cast<const T*>(segments[at.segment].k) + offset;
        from_v = static_cast<const T*>(segments[at.segment].v) + offset;
      }
      load_vector(k, r, part, from_k, D, 1.0f);
      load_vector(v, r, part, from_v, D, 1.0f);
    }
    __syncthreads();
    float dots[2][2];
    dot_tile(dots, q, k);
    for (int i = 0; i < 2; ++i)
      for (int j = 0; j < 2; ++j) {
        const int r = threadIdx.x / 16 + 8 * i, c = threadIdx.x % 16 + 16 * j;
        const bool seen = key0 + c < visible_keys(row, (first + r) / group);
        weights[r * kScoreStride + c] = seen ? dots[i][j] : -INFINITY;
      }
    __syncthreads();
    float* mine = weights + own * kScoreStride + part;  // columns part, part + 8, ...
    float top = most;
    for (int c = 0; c < kColTile; c += 8) top = fmaxf(top, mine[c]);
    for (int mask = 4; mask > 0; mask >>= 1) top = fmaxf(top, shuffle_xor(top, mask));
    const float shrink = most == -INFINITY ? 0.0f : expf(most - top);
    float added = 0.0f;
    for (int c = 0; c < kColTile; c += 8) {
      const float w = top == -INFINITY ? 0.0f : expf(mine[c] - top);
      mine[c] = w;
      added += w;
    }
    for (int mask = 4; mask > 0; mask >>= 1) added += shuffle_xor(added, mask);
    most = top;
    sum = sum * shrink + added;
#pragma unroll
    for (int i = 0; i < kD / 32; ++i)
      for (int e = 0; e < 4; ++e) o[i][e] *= shrink;
    __syncwarp();  // an item's eight threads are in one warp
    weighted_sum<kD>(o, weights, v);
  }
  if (item >= items) return;
  const int64_t at = static_cast<int64_t>(row.out_row + query) * g.s.H + head;
  store_vector<kD>(g.out + at * D, o, part, D, 1.0f / sum);
  if (g.lse && part == 0) g.lse[at] = most + logf(sum);
}

}  // namespace

template <class T>
bool attention(cudaStream_t s, const Attention& op, bool matrix_units) {
  if constexpr (std::is_same_v<T, bf16>)
    if (matrix_units && attention_mma(s, op)) return true;
  const AttentionCall& call = op.call;
  const HeadShape shape = op.heads;
  const Args<T> args{static_cast<T*>(op.out), static_cast<float*>(op.lse), static_cast<const T*>(op.q_base), op.ldq,
                     call.rows,               call.segments,               shape,                            1.0f / std::sqrt(static_cast<float>(shape.D))};
  with_head_width(shape.D, [&](auto width) {
    constexpr int kD = decltype(width)::value;
    const size_t shared = sizeof(float) * ((kRowTile + 2 * kColTile) * VectorTile<kD>::kStride + kRowTile * kScoreStride);
    const unsigned tiles = blocks_for(static_cast<size_t>(call.max_q_len) * (shape.H / shape.KVH), kRowTile);
    for_grid_rows(call.n_rows, [&](int first, int count) {
      Args<T> part = args;
      part.rows += first;
      LAUNCH(attention_kernel<T, kD>, dim3(tiles, count, shape.KVH), dim3(kAttentionThreads), shared, s, part);
    });
  });
  return false;
}

template bool attention<bf16>(cudaStream_t, const Attention&, bool);
template bool attention<float>(cudaStream_t, const Attention&, bool);

}  // namespace steerlab::gpu
