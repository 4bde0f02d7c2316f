// Gradient of bf16 attention on the matrix units: the formulas and the two kernels of attention_backward.cu.
//
// query_mma_kernel: rows are 16 items (query, head), columns keys; key_mma_kernel: rows are 16 own keys, columns items, so that P and dS
// come out transposed. P and dS enter their products as hi + lo bf16 pairs, all sums are F32.
#include "attention_mma.h"

#include "attention_mma_tile.h"

namespace steerlab::gpu {
namespace {

struct Args {
  bf16* dqkv;
  const int32_t* own_begin;
  const bf16 *dout, *q;
  const float *lse, *delta;
  int ldq;
  const AttentionRow* rows;
  const KvSegment* segments;
  HeadShape s;
  float scale;
};

// Where a row's item (query, head) of one KV head lies.
struct Items {
  const Args& g;
  const AttentionRow& row;
  int kv_head, group, count;

  __device__ Items(const Args& args, const AttentionRow& of, int head)
      : g(args), row(of), kv_head(head), group(args.s.H / args.s.KVH), count(of.q_len * (args.s.H / args.s.KVH)) {}
  __device__ int head(int item) const { return kv_head * group + item % group; }
  // of lse and delta
  __device__ int64_t at(int item) const { return static_cast<int64_t>(row.out_row + item / group) * g.s.H + head(item); }
  template <int kD>
  __device__ const bf16* query(int item) const {
    return item < count ? g.q + static_cast<int64_t>(row.q_row + item / group) * g.ldq + head(item) * kD : nullptr;
  }
  template <int kD>
  __device__ const bf16* gradient(int item) const {
    return item < count ? g.dout + at(item) * kD : nullptr;
  }
  // Keys that an item sees; none beyond the last item.
  __device__ int visible(int item) const { return item < count ? visible_keys(row, item / group) : 0; }
};

// Adds up the warps' sums in order and writes factor times them as the row to(i) of dqkv, null for none.
template <int kD, class To>
__device__ void store_sums(const float (&sums)[kD / 8][4], float* memory, float factor, To to) {
  const float once[kMmaWarps] = {1.0f, 1.0f, 1.0f, 1.0f};
  share_sums<kD>(sums, memory);
  __syncthreads();
  const int mine = threadIdx.x / 8;
  bf16* row = to(mine);
  if (row == nullptr) return;
  for (int d = threadIdx.x % 8 * 4; d < kD; d += 32) {
    float v[4];
    sum_of_warps<kD>(v, memory, mine, d, once);
    for (int e = 0; e < 4; ++e) v[e] *= factor;
    store_quad(row + d, v);
  }
}

template <int kD>
__global__ void __launch_bounds__(kMmaThreads) query_mma_kernel(Args g) {
  DYNAMIC_SHARED(memory);
  const AttentionRow row = g.rows[blockIdx.y];
  const KvSegment* segments = g.segments + row.seg_begin;
  const Items items(g, row, blockIdx.z);
  const int first = blockIdx.x * kMmaRows, lane = threadIdx.x % 32;
  if (first >= items.count) return;

  uint32_t q[kD / 16][4], dout[kD / 16][4];
  load_rows<kD>(q, [&](int i) { return items.query<kD>(first + i); });
  load_rows<kD>(dout, [&](int i) { return items.gradient<kD>(first + i); });
  int visible[2];
  float lse[2] = {}, delta[2] = {};
  for (int r = 0; r < 2; ++r) {
    const int item = first + lane / 4 + 8 * r;
    visible[r] = items.visible(item);
    if (item >= items.count) continue;
    lse[r] = g.lse[items.at(item)];
    delta[r] = g.delta[items.at(item)];
  }
  float dq[kD / 8][4] = {};
  const int keys = items.visible(min(first + kMmaRows, items.count) - 1);
  walk_tiles<kD>(
      reinterpret_cast<bf16*>(memory), tiles_of(keys),
      [&](bf16* stage, int tile) { fetch_keys<kD>(stage, segments, tile, keys, g.s.KVH, items.kv_head); },
      [&](const bf16* stage, int tile) {
        float scores[2][4] = {}, products[2][4] = {};
        multiply_tile<kD>(scores, fragments_of(q), stage);
        multiply_tile<kD>(products, fragments_of(dout), stage + MmaTiles<kD>::kTile);
#pragma unroll
        for (int j = 0; j < 2; ++j)
          for (int e = 0; e < 4; ++e) {
            const int key = tile * kMmaColumns + j * 8 + mma_c_index(lane, e).col, r = e / 2;
            const float p = key < visible[r] ? expf(scores[j][e] * g.scale - lse[r]) : 0.0f;
            products[j][e] = p * (products[j][e] - delta[r]);
          }
        add_weighted<kD>(dq, products, stage);
      });
  const int own_len = segments[row.seg_count - 1].len;
  const int64_t own = g.own_begin[blockIdx.y] + own_len - row.q_len;
  store_sums<kD>(dq, reinterpret_cast<float*>(memory), g.scale, [&](int i) -> bf16* {
    const int item = first + i;
    if (item >= items.count) return nullptr;
    return g.dqkv + ((own + item / items.group) * (g.s.H + 2 * g.s.KVH) + items.head(item)) * kD;
  });
}

template <int kD>
constexpr size_t kKeyShared = MmaTiles<kD>::kShared + sizeof(bf16) * 2 * MmaTiles<kD>::kTile;

template <int kD>
__global__ void __launch_bounds__(kMmaThreads) key_mma_kernel(Args g) {
  DYNAMIC_SHARED(memory);
  using L = MmaTiles<kD>;
  const AttentionRow row = g.rows[blockIdx.y];
  const KvSegment* segment = g.segments + row.seg_begin + row.seg_count - 1;
  const int own_len = segment->len;
  const Items items(g, row, blockIdx.z);
  const int first = blockIdx.x * kMmaRows, lane = threadIdx.x % 32;
  if (first >= own_len) return;

  // The block's keys and values lie behind the tiles: registers hold the gradients of both.
  bf16* keys = reinterpret_cast<bf16*>(memory) + kMmaWarps * L::kWarp;
  if (threadIdx.x < 32) fetch_keys<kD>(keys, segment, blockIdx.x, own_len, g.s.KVH, items.kv_head);
  copy_async_commit();
  copy_async_wait<0>();
  __syncthreads();
  const auto rows_of = [&](const bf16* tile) {
    return [tile, at = ldmatrix_a_row(lane)](uint32_t (&a)[4], int k) { load_matrix4(a, tile + at.row * L::kStride + k * 16 + at.col); };
  };

  int mine[2];  // positions of the lane's keys in the row's sequence; beyond the own keys nothing sees them
  for (int r = 0; r < 2; ++r) {
    const int key = first + lane / 4 + 8 * r;
    mine[r] = key < own_len ? row.kv_len - own_len + key : row.kv_len;
  }
  float dk[kD / 8][4] = {}, dv[kD / 8][4] = {};
  const int begin = first_query_of(row, own_len, first) * items.group;
  walk_tiles<kD>(
      reinterpret_cast<bf16*>(memory), tiles_of(items.count - begin),
      [&](bf16* stage, int tile) {
        const int item = begin + tile * kMmaColumns + lane / 2;
        fetch_pair<kD>(stage, items.query<kD>(item), items.gradient<kD>(item));
      },
      [&](const bf16* stage, int tile) {
        float weights[2][4] = {}, gradients[2][4] = {};
        multiply_tile<kD>(weights, rows_of(keys), stage);
        multiply_tile<kD>(gradients, rows_of(keys + L::kTile), stage + L::kTile);
#pragma unroll
        for (int j = 0; j < 2; ++j)
#pragma unroll
          for (int c = 0; c < 2; ++c) {  // elements c and c + 2: one item, two keys
            const int item = begin + tile * kMmaColumns + j * 8 + mma_c_index(lane, c).col, visible = items.visible(item);
            const float lse = visible > 0 ? g.lse[items.at(item)] : 0.0f, delta = visible > 0 ? g.delta[items.at(item)] : 0.0f;
            for (int r = 0; r < 2; ++r) {
              float &p = weights[j][c + 2 * r], &dp = gradients[j][c + 2 * r];
              p = mine[r] < visible ? expf(p * g.scale - lse) : 0.0f;
              dp = p * (dp - delta);
            }
          }
        add_weighted<kD>(dk, gradients, stage);
        add_weighted<kD>(dv, weights, stage + L::kTile);
      });
  const auto row_of = [&](int head) {
    return [=](int i) -> bf16* {
      return first + i < own_len ? g.dqkv + (static_cast<int64_t>(g.own_begin[blockIdx.y] + first + i) * (g.s.H + 2 * g.s.KVH) + head) * kD : nullptr;
    };
  };
  store_sums<kD>(dk, reinterpret_cast<float*>(memory), g.scale, row_of(g.s.H + items.kv_head));
  store_sums<kD>(dv, reinterpret_cast<float*>(memory), 1.0f, row_of(g.s.H + g.s.KVH + items.kv_head));
}

}  // namespace

bool attention_backward_mma(cudaStream_t s, const AttentionBackward& op, const float* delta) {
  const auto aligned = [](const void* p, size_t bytes) { return reinterpret_cast<uintptr_t>(p) % bytes == 0; };
  if (op.ldq % 2 != 0 || !aligned(op.q_base, 4) || !aligned(op.dout, 4) || !aligned(op.dqkv, sizeof(Bf16Quad))) return false;
  const AttentionCall& call = op.call;
  const HeadShape heads = op.heads;
  const Args args{static_cast<bf16*>(op.dqkv),
                  op.own_begin,
                  static_cast<const bf16*>(op.dout),
                  static_cast<const bf16*>(op.q_base),
                  static_cast<const float*>(op.lse),
                  delta,
                  op.ldq,
                  call.rows,
                  call.segments,
                  heads,
                  1.0f / std::sqrt(static_cast<float>(heads.D))};
  return with_mma_width(heads.D, [&](auto width) {
    constexpr int kD = decltype(width)::value;
    const unsigned query_tiles = blocks_for(static_cast<size_t>(call.max_q_len) * (heads.H / heads.KVH), kMmaRows);
    // own tokens of a row: at most the tail, at most the keys
    const unsigned key_tiles = blocks_for(std::min(op.n_tail, call.max_kv_len), kMmaRows);
    for_grid_rows(call.n_rows, [&](int first, int count) {
      Args part = args;
      part.rows += first;
      part.own_begin += first;
      LAUNCH(query_mma_kernel<kD>, dim3(query_tiles, count, heads.KVH), dim3(kMmaThreads), MmaTiles<kD>::kShared, s, part);
      LAUNCH(key_mma_kernel<kD>, dim3(key_tiles, count, heads.KVH), dim3(kMmaThreads), kKeyShared<kD>, s, part);
    });
  });
}

}  // namespace steerlab::gpu
