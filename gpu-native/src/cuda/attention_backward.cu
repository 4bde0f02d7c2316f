// Gradient of attention with respect to all queries and to the keys and values of each row's last segment.
//
// With P = exp(scale q.k - lse), dP = dout.v and delta = sum over d of dout * out:  dS = P (dP - delta),
// dq = scale sum_keys dS k,  dk = scale sum_queries dS q,  dv = sum_queries P dout.  Two kernels, no atomics: one owns queries
// and walks keys, the other owns keys and walks the queries of all heads in the group. Earlier segments are constants.
#include <type_traits>

#include "attention_mma.h"
#include "attention_tile.h"
#include "reduce.h"

namespace steerlab::gpu {
namespace {

template <class T>
struct Args {
  T* dqkv;
  const int32_t* own_begin;
  const T *dout, *q;
  const float *lse, *delta;
  int ldq;
  const AttentionRow* rows;
  const KvSegment* segments;
  HeadShape s;
  float scale;
};

template <class T>
__global__ void delta_kernel(float* delta, const T* dout, const T* out, int count, int D) {
  const int i = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (i >= count) return;
  float sum = 0.0f;
  for (int d = lane; d < D; d += 32) sum += widen(dout[static_cast<int64_t>(i) * D + d]) * widen(out[static_cast<int64_t>(i) * D + d]);
  sum = warp_sum(sum);
  if (lane == 0) delta[i] = sum;
}

// Keys or queries at a time: two tiles of 32 wide heads are more than the 99 KB that a block has on sm_86 and sm_89.
template <int kD>
constexpr int kCols = kD > 128 ? 16 : kColTile;

// P and dS of the thread's 2 x 2 elements, from the two dot products; items index lse and delta.
struct Softmax {
  float weight, gradient;
};
__device__ __forceinline__ Softmax softmax_gradient(float score, float product, float lse, float delta, bool seen) {
  const float p = seen ? expf(score - lse) : 0.0f;
  return {p, p * (product - delta)};
}

template <class T, int kD>
__global__ void __launch_bounds__(kAttentionThreads) query_kernel(Args<T> g) {
  DYNAMIC_SHARED(memory);
  using Tile = VectorTile<kD>;
  const Tile q{reinterpret_cast<float*>(memory)}, dout{q.data + kRowTile * Tile::kStride},
      k{dout.data + kRowTile * Tile::kStride}, v{k.data + kCols<kD> * Tile::kStride};
  float* scores = v.data + kCols<kD> * Tile::kStride;  // (16, 33): dS
  __shared__ float lse[kRowTile], delta[kRowTile];

  const AttentionRow row = g.rows[blockIdx.y];
  const KvSegment* segments = g.segments + row.seg_begin;
  const int group = g.s.H / g.s.KVH, kv_head = blockIdx.z, D = g.s.D, items = row.q_len * group, first = blockIdx.x * kRowTile;
  if (first >= items) return;
  const int part = threadIdx.x % 8, own = threadIdx.x / 8, item = first + own;
  const int query = item / group, head = kv_head * group + item % group;
  const int64_t at = static_cast<int64_t>(row.out_row + query) * g.s.H + head;
  const bool real = item < items;
  const T* none = nullptr;
  load_vector(q, own, part, real ? g.q + static_cast<int64_t>(row.q_row + query) * g.ldq + head * D : none, D, g.scale);
  load_vector(dout, own, part, real ? g.dout + at * D : none, D, 1.0f);
  if (part == 0) {
    lse[own] = real ? g.lse[at] : 0.0f;
    delta[own] = real ? g.delta[at] : 0.0f;
  }
  const int keys = visible_keys(row, min(first + kRowTile - 1, items - 1) / group);
  const int64_t kv_width = static_cast<int64_t>(g.s.KVH) * D;
  float dq[kD / 32][4] = {};
  for (int key0 = 0; key0 < keys; key0 += kCols<kD>) {
    __syncthreads();
    for (int r = threadIdx.x / 8; r < kCols<kD>; r += kAttentionThreads / 8) {
      const T *from_k = nullptr, *from_v = nullptr;
      if (key0 + r < keys) {
        const KeyPlace place = locate_key(segments, key0 + r);
        const int64_t offset = place.offset * kv_width + kv_head * D;
        from_k = static_cast<const T*>(segments[place.segment].k) + offset;
        from_v = static_cast<const T*>(segments[place.segment].v) + offset;
      }
      load_vector(k, r, part, from_k, D, 1.0f);
      load_vector(v, r, part, from_v, D, 1.0f);
    }
    __syncthreads();
    float dots[2][kCols<kD> / 16], products[2][kCols<kD> / 16];
    dot_tile(dots, q, k);
    dot_tile(products, dout, v);
    for (int i = 0; i < 2; ++i)
      for (int j = 0; j < kCols<kD> / 16; ++j) {
        const int r = threadIdx.x / 16 + 8 * i, c = threadIdx.x % 16 + 16 * j;
        const bool seen = first + r < items && key0 + c < visible_keys(row, (first + r) / group);
        scores[r * kScoreStride + c] = softmax_gradient(dots[i][j], products[i][j], lse[r], delta[r], seen).gradient;
      }
    __syncthreads();
    weighted_sum<kD, kCols<kD>>(dq, scores, k);
  }
  if (!real) return;
  const int own_len = segments[row.seg_count - 1].len;
  const int64_t to = g.own_begin[blockIdx.y] + own_len - row.q_len + query;
  store_vector<kD>(g.dqkv + to * (g.s.H + 2 * g.s.KVH) * D + head * D, dq, part, D, g.scale);
}

template <class T, int kD>
__global__ void __launch_bounds__(kAttentionThreads) key_kernel(Args<T> g) {
  DYNAMIC_SHARED(memory);
  using Tile = VectorTile<kD>;
  const Tile k{reinterpret_cast<float*>(memory)}, v{k.data + kRowTile * Tile::kStride}, q{v.data + kRowTile * Tile::kStride},
      dout{q.data + kCols<kD> * Tile::kStride};
  float* weights = dout.data + kCols<kD> * Tile::kStride;    // (16, 33): P^T
  float* gradients = weights + kRowTile * kScoreStride;      // (16, 33): dS^T
  __shared__ float lse[kCols<kD>], delta[kCols<kD>];

  const AttentionRow row = g.rows[blockIdx.y];
  const KvSegment own = g.segments[row.seg_begin + row.seg_count - 1];
  const int group = g.s.H / g.s.KVH, kv_head = blockIdx.z, D = g.s.D, first = blockIdx.x * kRowTile;
  if (first >= own.len) return;
  const int part = threadIdx.x % 8, mine = first + threadIdx.x / 8;  // own key whose sums this thread shares
  const int64_t kv_width = static_cast<int64_t>(g.s.KVH) * D;
  const T* none = nullptr;
  const int64_t offset = mine * kv_width + kv_head * D;
  load_vector(k, threadIdx.x / 8, part, mine < own.len ? static_cast<const T*>(own.k) + offset : none, D, 1.0f);
  load_vector(v, threadIdx.x / 8, part, mine < own.len ? static_cast<const T*>(own.v) + offset : none, D, 1.0f);

  float dk[kD / 32][4] = {}, dv[kD / 32][4] = {};
  const int items = row.q_len * group;
  for (int item0 = first_query_of(row, own.len, first) * group; item0 < items; item0 += kCols<kD>) {
    __syncthreads();
    for (int r = threadIdx.x / 8; r < kCols<kD>; r += kAttentionThreads / 8) {
      const int item = item0 + r, query = item / group, head = kv_head * group + item % group;
      const bool real = item < items;
      const int64_t at = static_cast<int64_t>(row.out_row + query) * g.s.H + head;
      load_vector(q, r, part, real ? g.q + static_cast<int64_t>(row.q_row + query) * g.ldq + head * D : none, D, g.scale);
      load_vector(dout, r, part, real ? g.dout + at * D : none, D, 1.0f);
      if (part == 0) {
        lse[r] = real ? g.lse[at] : 0.0f;
        delta[r] = real ? g.delta[at] : 0.0f;
      }
    }
    __syncthreads();
    float dots[2][kCols<kD> / 16], products[2][kCols<kD> / 16];
    dot_tile(dots, k, q);
    dot_tile(products, v, dout);
    for (int i = 0; i < 2; ++i)
      for (int j = 0; j < kCols<kD> / 16; ++j) {
        const int r = threadIdx.x / 16 + 8 * i, c = threadIdx.x % 16 + 16 * j;
        const int key = row.kv_len - own.len + first + r;
        const bool seen = item0 + c < items && first + r < own.len && key < visible_keys(row, (item0 + c) / group);
        const Softmax sm = softmax_gradient(dots[i][j], products[i][j], lse[c], delta[c], seen);
        weights[r * kScoreStride + c] = sm.weight;
        gradients[r * kScoreStride + c] = sm.gradient;
      }
    __syncthreads();
    weighted_sum<kD, kCols<kD>>(dv, weights, dout);
    weighted_sum<kD, kCols<kD>>(dk, gradients, q);  // q carries the scale
  }
  if (mine >= own.len) return;
  T* to = g.dqkv + static_cast<int64_t>(g.own_begin[blockIdx.y] + mine) * (g.s.H + 2 * g.s.KVH) * D;
  store_vector<kD>(to + (g.s.H + kv_head) * D, dk, part, D, 1.0f);
  store_vector<kD>(to + (g.s.H + g.s.KVH + kv_head) * D, dv, part, D, 1.0f);
}

}  // namespace

template <class T>
bool attention_backward(cudaStream_t s, const AttentionBackward& op, float* delta, bool matrix_units) {
  const AttentionCall& call = op.call;
  const HeadShape shape = op.heads;
  const size_t width = static_cast<size_t>(shape.H + 2 * shape.KVH) * shape.D;
  check_cuda(cudaMemsetAsync(op.dqkv, 0, sizeof(T) * width * op.n_tail, s), "clearing dqkv");
  const int vectors = call.total_q * shape.H;
  LAUNCH(delta_kernel<T>, dim3(blocks_for(vectors, 4)), dim3(128), 0, s, delta, static_cast<const T*>(op.dout),
         static_cast<const T*>(op.out), vectors, shape.D);
  if constexpr (std::is_same_v<T, bf16>)
    if (matrix_units && attention_backward_mma(s, op, delta)) return true;
  const Args<T> args{static_cast<T*>(op.dqkv),
                     op.own_begin,
                     static_cast<const T*>(op.dout),
                     static_cast<const T*>(op.q_base),
                     static_cast<const float*>(op.lse),
                     delta,
                     op.ldq,
                     call.rows,
                     call.segments,
                     shape,
                     1.0f / std::sqrt(static_cast<float>(shape.D))};
  with_head_width(shape.D, [&](auto head_width) {
    constexpr int kD = decltype(head_width)::value;
    const size_t vectors_shared = sizeof(float) * 2 * (kRowTile + kCols<kD>) * VectorTile<kD>::kStride;
    const size_t scores = sizeof(float) * kRowTile * kScoreStride;
    const unsigned query_tiles = blocks_for(static_cast<size_t>(call.max_q_len) * (shape.H / shape.KVH), kRowTile);
    // own tokens of a row: at most the tail, at most the keys
    const unsigned key_tiles = blocks_for(std::min(op.n_tail, call.max_kv_len), kRowTile);
    for_grid_rows(call.n_rows, [&](int first, int count) {
      Args<T> part = args;
      part.rows += first;
      part.own_begin += first;
      LAUNCH(query_kernel<T, kD>, dim3(query_tiles, count, shape.KVH), dim3(kAttentionThreads), vectors_shared + scores, s, part);
      LAUNCH(key_kernel<T, kD>, dim3(key_tiles, count, shape.KVH), dim3(kAttentionThreads), vectors_shared + 2 * scores, s, part);
    });
  });
  return false;
}

template bool attention_backward<bf16>(cudaStream_t, const AttentionBackward&, float*, bool);
template bool attention_backward<float>(cudaStream_t, const AttentionBackward&, float*, bool);

}  // namespace steerlab::gpu
