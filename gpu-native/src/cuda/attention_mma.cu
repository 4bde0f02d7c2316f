// bf16 attention on the matrix units: 16 items (query, head) per block, four warps that share out the key tiles.
//
// A warp takes key tiles w, w + 4, ... of 16 keys, two stages of cp.async deep, and keeps its own running maximum m, sum l and
// values o; at the end the four are merged in warp order by weights exp(m_w - max m). Scores and sums are F32; the weights enter
// the value product as hi + lo bf16 pairs, so the result is as exact as the F32 kernel's. Tiles are cut by key index (segments.h), so
// bits do not depend on segments or on other rows.
#include "attention_mma.h"

#include "fragments.h"
#include "reduce.h"
#include "segments.h"

namespace steerlab::gpu {
namespace {

constexpr int kItems = 16, kKeys = 16, kWarps = 4, kThreads = 32 * kWarps, kStages = 2, kPad = 8;

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

template <int kD>
struct Tiles {
  static constexpr int kStride = kD + kPad;
  static constexpr int kTile = kKeys * kStride;          // keys or values of one tile
  static constexpr int kWarp = kStages * 2 * kTile;      // of one warp
  static constexpr size_t kShared = sizeof(bf16) * kWarps * kWarp;
  static_assert(kShared >= sizeof(float) * kWarps * kItems * kD, "the merge reuses the tiles");
};

// 16 bytes of a key or value row, zeros beyond the last one; segments whose address is not a multiple of 16 are copied by hand.
__device__ __forceinline__ void fetch(bf16* to, const bf16* from) {
  if (from != nullptr && reinterpret_cast<uintptr_t>(from) % 16 == 0) {
    copy_async16(to, from, 16);
    return;
  }
  for (int e = 0; e < 8; ++e) to[e] = from ? from[e] : bf16{0};
}

// Keys and values of tile `tile` into one stage; two lanes share a row.
template <int kD>
__device__ void load_tile(bf16* stage, const KvSegment* segments, int tile, int keys, int kv_width, int column) {
  using L = Tiles<kD>;
  const int lane = threadIdx.x % 32, row = lane / 2, half = (lane % 2) * (kD / 2), key = tile * kKeys + row;
  const bf16 *k = nullptr, *v = nullptr;
  if (key < keys) {
    const KeyPlace at = locate_key(segments, key);
    const int64_t offset = static_cast<int64_t>(at.offset) * kv_width + column + half;
    k = static_cast<const bf16*>(segments[at.segment].k) + offset;
    v = static_cast<const bf16*>(segments[at.segment].v) + offset;
  }
  bf16* to = stage + row * L::kStride + half;
#pragma unroll
  for (int c = 0; c < kD / 2; c += 8) {
    fetch(to + c, k ? k + c : nullptr);
    fetch(to + L::kTile + c, v ? v + c : nullptr);
  }
}

// Query fragments of the block's 16 items, straight from global memory.
template <int kD>
__device__ void load_queries(uint32_t (&a)[kD / 16][4], const Args& g, const AttentionRow& row, int first, int items, int kv_head) {
  const int lane = threadIdx.x % 32, group = g.s.H / g.s.KVH;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int item = first + mma_a_index(lane, 2 * r).row;
    const bf16* q = item < items ? g.q + static_cast<int64_t>(row.q_row + item / group) * g.ldq + (kv_head * group + item % group) * kD : nullptr;
#pragma unroll
    for (int k = 0; k < kD / 16; ++k)
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        const int reg = r + 2 * c;
        a[k][reg] = q ? *reinterpret_cast<const uint32_t*>(q + k * 16 + mma_a_index(lane, 2 * reg).col) : 0u;
      }
  }
}

// State of a warp: rows lane / 4 and lane / 4 + 8 of the items.
template <int kD>
struct State {
  float most[2], sum[2], o[kD / 8][4];
};

template <int kD>
__device__ void attend(State<kD>& st, const uint32_t (&q)[kD / 16][4], const bf16* stage, int tile, const int (&visible)[2], float scale) {
  using L = Tiles<kD>;
  const int lane = threadIdx.x % 32;
  float s[2][4] = {};
#pragma unroll
  for (int k = 0; k < kD / 16; ++k) {
    uint32_t b[4];
    const TileIndex at = ldmatrix_b_row(lane);
    load_matrix4(b, stage + at.row * L::kStride + k * 16 + at.col);
    mma_16816(s[0], q[k], b);
    mma_16816(s[1], q[k], b + 2);
  }
  float shrink[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float top = st.most[r];
    for (int j = 0; j < 2; ++j)
      for (int e = 2 * r; e < 2 * r + 2; ++e) {
        const int key = tile * kKeys + j * 8 + mma_c_index(lane, e).col;
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
  // the score fragments are the A fragment of the value product: registers (row half) + 2 (key half)
  uint32_t high[4], low[4];
#pragma unroll
  for (int reg = 0; reg < 4; ++reg) {
    const float p0 = s[reg / 2][2 * (reg % 2)], p1 = s[reg / 2][2 * (reg % 2) + 1];
    const float h0 = rounded<bf16>(p0), h1 = rounded<bf16>(p1);
    high[reg] = pack_bf16(h0, h1);
    low[reg] = pack_bf16(p0 - h0, p1 - h1);
  }
#pragma unroll
  for (int n = 0; n < kD / 16; ++n) {
    uint32_t b[4];
    const TileIndex at = ldmatrix_b_row_transposed(lane);
    load_matrix4_transposed(b, stage + L::kTile + at.row * L::kStride + n * 16 + at.col);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float(&o)[4] = st.o[2 * n + h];
      for (int e = 0; e < 4; ++e) o[e] *= shrink[e / 2];
      mma_16816(o, high, b + 2 * h);
      mma_16816(o, low, b + 2 * h);
    }
  }
}

// Adds up the four warps' states in order and writes the block's items.
template <int kD>
__device__ void merge(const State<kD>& st, float* memory, const Args& g, const AttentionRow& row, int first, int items, int kv_head) {
  __shared__ float most[kWarps][kItems], sum[kWarps][kItems];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, group = g.s.H / g.s.KVH;
  __syncthreads();  // all warps are done with their tiles
#pragma unroll
  for (int n = 0; n < kD / 8; ++n)
    for (int e = 0; e < 4; ++e) {
      const TileIndex at = mma_c_index(lane, e);
      memory[(warp * kItems + at.row) * kD + n * 8 + at.col] = st.o[n][e];
    }
  if (lane % 4 == 0)
    for (int r = 0; r < 2; ++r) {
      most[warp][lane / 4 + 8 * r] = st.most[r];
      sum[warp][lane / 4 + 8 * r] = st.sum[r];
    }
  __syncthreads();
  const int mine = threadIdx.x / 8, item = first + mine, part = threadIdx.x % 8;
  if (item >= items) return;
  float top = -INFINITY, total = 0.0f, weight[kWarps];
  for (int w = 0; w < kWarps; ++w) top = fmaxf(top, most[w][mine]);
  for (int w = 0; w < kWarps; ++w) {
    weight[w] = most[w][mine] == -INFINITY ? 0.0f : expf(most[w][mine] - top);
    total += weight[w] * sum[w][mine];
  }
  const int64_t at = static_cast<int64_t>(row.out_row + item / group) * g.s.H + kv_head * group + item % group;
  for (int d = part * 4; d < kD; d += 32) {
    float v[4] = {};
    for (int w = 0; w < kWarps; ++w) {
      float o[4];
      load_quad(o, memory + (w * kItems + mine) * kD + d);
      for (int e = 0; e < 4; ++e) v[e] += weight[w] * o[e];
    }
    for (int e = 0; e < 4; ++e) v[e] /= total;
    store_quad(g.out + at * kD + d, v);
  }
  if (g.lse && part == 0) g.lse[at] = top + logf(total);
}

template <int kD>
__global__ void __launch_bounds__(kThreads) mma_kernel(Args g) {
  DYNAMIC_SHARED(memory);
  using L = Tiles<kD>;
  const AttentionRow row = g.rows[blockIdx.y];
  const KvSegment* segments = g.segments + row.seg_begin;
  const int group = g.s.H / g.s.KVH, kv_head = blockIdx.z, items = row.q_len * group, first = blockIdx.x * kItems;
  if (first >= items) return;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  bf16* stages = reinterpret_cast<bf16*>(memory) + warp * L::kWarp;

  uint32_t q[kD / 16][4];
  load_queries<kD>(q, g, row, first, items, kv_head);
  State<kD> st = {{-INFINITY, -INFINITY}, {0.0f, 0.0f}, {}};
  int visible[2];
  for (int r = 0; r < 2; ++r) visible[r] = visible_keys(row, min(first + lane / 4 + 8 * r, items - 1) / group);
  const int keys = visible_keys(row, min(first + kItems - 1, items - 1) / group), tiles = (keys + kKeys - 1) / kKeys;

  if (warp < tiles) load_tile<kD>(stages, segments, warp, keys, g.s.KVH * kD, kv_head * kD);
  copy_async_commit();
  for (int i = 0, tile = warp; tile < tiles; ++i, tile += kWarps) {
    if (tile + kWarps < tiles)
      load_tile<kD>(stages + ((i + 1) % kStages) * 2 * L::kTile, segments, tile + kWarps, keys, g.s.KVH * kD, kv_head * kD);
    copy_async_commit();
    copy_async_wait<1>();
    __syncwarp();  // every lane's part of the tile has landed
    attend<kD>(st, q, stages + (i % kStages) * 2 * L::kTile, tile, visible, g.scale);
    __syncwarp();  // before the stage is loaded again
  }
  copy_async_wait<0>();
  merge<kD>(st, reinterpret_cast<float*>(memory), g, row, first, items, kv_head);
}

template <int kD>
void run(cudaStream_t s, const Args& g, const AttentionCall& call) {
  const unsigned tiles = blocks_for(static_cast<size_t>(call.max_q_len) * (g.s.H / g.s.KVH), kItems);
  for_grid_rows(call.n_rows, [&](int first, int count) {
    Args part = g;
    part.rows += first;
    LAUNCH(mma_kernel<kD>, dim3(tiles, count, g.s.KVH), dim3(kThreads), Tiles<kD>::kShared, s, part);
  });
}

}  // namespace

bool attention_mma(cudaStream_t s, const Attention& op) {
  const bool aligned = op.ldq % 2 == 0 && reinterpret_cast<uintptr_t>(op.q_base) % 4 == 0 && reinterpret_cast<uintptr_t>(op.out) % 8 == 0;
  if (!aligned) return false;
  const Args args{static_cast<bf16*>(op.out), static_cast<float*>(op.lse), static_cast<const bf16*>(op.q_base), op.ldq,
                  op.call.rows,               op.call.segments,            op.heads,                            1.0f / std::sqrt(static_cast<float>(op.heads.D))};
  switch (op.heads.D) {
    case 16: run<16>(s, args, op.call); return true;
    case 32: run<32>(s, args, op.call); return true;
    case 64: run<64>(s, args, op.call); return true;
    case 128: run<128>(s, args, op.call); return true;
    default: return false;
  }
}

}  // namespace steerlab::gpu
