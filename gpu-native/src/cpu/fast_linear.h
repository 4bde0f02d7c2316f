// Forward projections on the vector engine.
//
// Two parallel phases. 1: pack x into tiles; u = dropout(x) A^T for every adapter. 2: for every group of output columns pack the
// weights, multiply all rows, then add bias and u B^T while storing. Packing costs under 3 % at a few hundred rows.
#pragma once
#include "fast.h"

namespace steerlab {

template <class A>
FastBackend<A>::FastBackend(int threads, const Kernels& kernels)
    : PlainBackend<A>(threads, kernels.isa), k_(kernels), e_([&]() -> const RowKernels<E>& {
        if constexpr (sizeof(E) == 2) return kernels.bf16;
        else return kernels.f32;
      }()),
      pairs_(sizeof(E) == 2 && kernels.pair_dot), workers_(static_cast<size_t>(pool().threads())),
      isa_suffix_(std::string(".") + kernels.isa) {}

template <class A>
void FastBackend<A>::ran(const char* op) {
  this->count(op);
  this->count((op + isa_suffix_).c_str());
}

template <class A>
void FastBackend<A>::pack_tile(Form f, uint32_t* dst, const E* src, int64_t lds, int rows, int k) const {
  if constexpr (sizeof(E) == 4) {
    if (f.pieces > 1) return k_.tile_pieces(dst, piece_words(f, k), src, lds, rows, k);
  } else {
    if (f.pairs) return k_.tile_pairs(dst, src, lds, rows, k);
  }
  for (; rows > 0; rows -= k_.lanes, src += k_.lanes * lds, dst += k_.lanes) {
    const int mine = std::min(rows, k_.lanes);
    if constexpr (sizeof(E) == 4) k_.pack_f32(reinterpret_cast<float*>(dst), k_.tile_width, src, lds, mine, k);
    else k_.pack_bf16(reinterpret_cast<float*>(dst), k_.tile_width, src, lds, mine, k);
  }
}

template <class A>
void FastBackend<A>::pack_weight(Form f, uint32_t* panels, const Weight& w, int row, int rows, int from, int k) const {
  const int steps = units(f, k);
  const int64_t panel_words = static_cast<int64_t>(steps) * k_.width;
  for (int v = 0; v * k_.lanes < rows; ++v) {
    const int mine = std::min(k_.lanes, rows - v * k_.lanes);
    const int64_t at = static_cast<int64_t>(row + v * k_.lanes) * w.in + from;
    uint32_t* to = panels + v / 2 * panel_words + vector_at(f, v % 2, steps);
    if (f.pairs) k_.pack_pairs(to, step_words(f), static_cast<const Bf16*>(w.data) + at, w.in, mine, k);
    else if (w.type == DType::BF16) k_.pack_bf16(reinterpret_cast<float*>(to), k_.width, static_cast<const Bf16*>(w.data) + at, w.in, mine, k);
    else k_.pack_f32(reinterpret_cast<float*>(to), k_.width, static_cast<const float*>(w.data) + at, w.in, mine, k);
  }
}

template <class A>
void FastBackend<A>::pack_weight_rows(Form f, uint32_t* panels, const Weight& w, int row, int k, int column, int columns) const {
  for (int from = 0; from < columns; from += k_.width, panels += static_cast<int64_t>(units(f, k)) * k_.width) {
    const int64_t at = static_cast<int64_t>(row) * w.in + column + from;
    const int mine = std::min(k_.width, columns - from);
    if (f.pairs) k_.copy_pairs(panels, static_cast<const Bf16*>(w.data) + at, w.in, k, mine);
    else if (w.type == DType::BF16) k_.copy_bf16(reinterpret_cast<float*>(panels), static_cast<const Bf16*>(w.data) + at, w.in, k, mine);
    else k_.copy_f32(reinterpret_cast<float*>(panels), static_cast<const float*>(w.data) + at, w.in, k, mine);
  }
}

template <class A>
void FastBackend<A>::multiply(Form f, float* c, const uint32_t* tiles, int in, int first, const uint32_t* panels, int rows, int steps,
                              int columns, bool accumulate, const Ahead& ahead) const {
  const int64_t panel_words = static_cast<int64_t>(steps) * k_.width, stride = tile_words(f, in);
  tiles += static_cast<int64_t>(first) * k_.tile_width;
  if (f.pieces > 1)
    k_.gemm_group_pieces(c, group(), tiles, stride, piece_words(f, in), panels, panel_words, rows, steps, columns, accumulate, ahead);
  else if (f.pairs) k_.gemm_group_pairs(c, group(), tiles, stride, panels, panel_words, rows, steps, columns, accumulate, ahead);
  else
    k_.gemm_group_f32(c, group(), reinterpret_cast<const float*>(tiles), stride, reinterpret_cast<const float*>(panels), panel_words, rows,
                      steps, columns, accumulate, ahead);
}

// hi = bf16(v), lo = bf16(v - hi) for `rows` rows of k columns; hi then lo in the result's halves of each row pair block.
inline void split_bf16(Bf16* hi, Bf16* lo, const float* v, int n) {
  for (int i = 0; i < n; ++i) {
    hi[i] = to_bf16(v[i]);
    lo[i] = to_bf16(v[i] - to_float(hi[i]));
  }
}

template <class A>
void FastBackend<A>::pack_thin(Worker& w, uint32_t* panel, const float* a, int64_t lda, int rows, int k) const {
  if (!pairs_) {
    for (int v = 0; v < 2; ++v) {
      const int mine = std::clamp(rows - v * k_.lanes, 0, k_.lanes);
      if (mine) k_.pack_f32(reinterpret_cast<float*>(panel) + v * k_.lanes, k_.width, a + v * k_.lanes * lda, lda, mine, k);
    }
    return;
  }
  Bf16 *hi = w.temp.template get<Bf16>(static_cast<size_t>(2) * rows * k), *lo = hi + static_cast<size_t>(rows) * k;
  for (int i = 0; i < rows; ++i) split_bf16(hi + static_cast<int64_t>(i) * k, lo + static_cast<int64_t>(i) * k, a + i * lda, k);
  const Form f = own_form();
  k_.pack_pairs(panel, step_words(f), hi, k, rows, k);
  k_.pack_pairs(panel + vector_at(f, 1, units(f, k)), step_words(f), lo, k, rows, k);
}

template <class A>
void FastBackend<A>::pack_thin_rows(Worker& w, uint32_t* panel, const float* b, int64_t ldb, int k, int columns) const {
  if (!pairs_) {
    k_.copy_f32(reinterpret_cast<float*>(panel), b, ldb, k, columns);
    return;
  }
  Bf16* both = w.temp.template get<Bf16>(static_cast<size_t>(k) * k_.width);
  for (int64_t i = 0; i < k; ++i) {
    Bf16* row = both + i * k_.width;
    std::memset(row, 0, sizeof(Bf16) * static_cast<size_t>(k_.width));
    split_bf16(row, row + k_.lanes, b + i * ldb, columns);
  }
  k_.copy_pairs(panel, both, k_.width, k, k_.width);
}

template <class A>
void FastBackend<A>::add_thin(float* out, const float* c, float factor, int columns) const {
  for (int j = 0; j < columns; ++j) out[j] = factor * (pairs_ ? c[j] + c[k_.lanes + j] : c[j]);
}

template <class A>
void FastBackend<A>::pack_tiles(Form f, const E* x, int64_t ldx, int n, int k, int first_tile, int tiles, uint32_t* out) const {
  for (int t = first_tile; t < first_tile + tiles; ++t) {
    const int row = t * k_.tile_rows;
    pack_tile(f, out + t * tile_words(f, k), x + row * ldx, ldx, std::min(k_.tile_rows, n - row), k);
  }
}

// u of one adapter over the tiles [first, last) of x, for its own tokens. Writes use.u and the u tiles.
template <class A>
void FastBackend<A>::lora_down(Worker& w, const UseTiles& lora, const uint32_t* packed, int in, int first, int last,
                               const DropoutKey* dropout) {
  const LoraUse& use = *lora.use;
  const Form f = own_form();
  const int T = k_.tile_rows, steps = units(f, in), thin = thin_columns(), panels = (use.r + thin - 1) / thin;
  const int64_t panel_words = static_cast<int64_t>(steps) * k_.width;
  uint32_t* panel = w.thin_panel.template get<uint32_t>(static_cast<size_t>(panel_words * panels));
  for (int p = 0; p < panels; ++p)
    pack_thin(w, panel + p * panel_words, static_cast<const float*>(use.a) + static_cast<int64_t>(p) * thin * in, in,
              std::min(thin, use.r - p * thin), in);
  uint32_t* dropped = w.tile.template get<uint32_t>(static_cast<size_t>(tile_words(f, in)));
  float* c = w.thin_c.template get<float>(static_cast<size_t>(T) * group());
  float* u = w.grads.template get<float>(static_cast<size_t>(T) * use.r);
  const bool drop = use.dropout > 0;
  const float factor = drop ? static_cast<float>(1.0 / (1.0 - static_cast<double>(use.dropout))) : 1.0f;

  for (int t = first; t < last; ++t) {
    const uint32_t* tile = packed + t * tile_words(f, in);
    const int from = std::max(t * T, use.begin), to = std::min((t + 1) * T, use.end);
    if (drop) {
      drop_tile(dropped, tile, in, {dropout->seed, dropout->step, lora.site, dropout_threshold(use.dropout)}, *dropout, t * T, from, to);
      tile = dropped;
    }
    for (int p = 0; p < panels; ++p) {
      multiply(f, c, tile, in, 0, panel + p * panel_words, to - t * T, steps, k_.width, false);
      for (int i = from - t * T; i < to - t * T; ++i)
        add_thin(u + i * use.r + p * thin, c + static_cast<int64_t>(i) * group(), factor, std::min(thin, use.r - p * thin));
    }
    float* out = u_tiles_.template get<float>(0) + lora.at + (t - lora.first(T)) * lora.stride;
    for (int i = from - t * T; i < to - t * T; ++i) {
      if (use.u)
        std::memcpy(static_cast<float*>(use.u) + static_cast<int64_t>(t * T + i - use.begin) * use.r, u + i * use.r,
                    sizeof(float) * static_cast<size_t>(use.r));
      for (int j = 0; j < use.r; ++j) out[j * k_.tile_width + i] = u[i * use.r + j];
    }
  }
}

// Dropout of the tokens [from, to) of the tile that begins at token `first`.
template <class A>
void FastBackend<A>::drop_tile(uint32_t* dst, const uint32_t* src, int k, const DropoutStream& stream, const DropoutKey& key,
                               int first, int from, int to) const {
  uint32_t examples[32] = {0}, positions[32] = {0};
  for (int t = from; t < to; ++t) {
    examples[t - first] = static_cast<uint32_t>(key.token_example[t]);
    positions[t - first] = static_cast<uint32_t>(key.token_position[t]);
  }
  if (pairs_) k_.drop_tile_pairs(dst, src, k, stream, examples, positions);
  else k_.drop_tile_f32(reinterpret_cast<float*>(dst), reinterpret_cast<const float*>(src), k, stream, examples, positions);
}

// How many blocks of rows to split n rows into: enough tasks for all threads, at most about a thousand rows each.
template <class A>
int FastBackend<A>::row_blocks(int n, int64_t groups) const {
  const int threads = static_cast<int>(workers_.size()), most = (n + 47) / 48;
  const int wanted = static_cast<int>(threads == 1 ? 1 : (2 * threads + groups - 1) / std::max<int64_t>(groups, 1));
  return std::clamp(std::max(wanted, (n + 1007) / 1008), 1, std::max(most, 1));
}

// w.c (rows, group) = rows [m0, m0 + rows) of x times columns [n0, n0 + cols) of W^T.
template <class A>
void FastBackend<A>::project_group(Form f, Worker& w, const Weight& weight, int n0, int cols, const uint32_t* tiles, int m0, int rows) {
  const int in = weight.in, block = reduction_block(f), bytes = static_cast<int>(bytes_of(weight.type));
  uint32_t* panels = w.panel.template get<uint32_t>(static_cast<size_t>(units(f, std::min(in, block))) * group());
  float* c = w.c.template get<float>(static_cast<size_t>(rows) * group());
  const char* data = static_cast<const char*>(weight.data);
  const int64_t stride = static_cast<int64_t>(in) * bytes;
  for (int from = 0; from < in; from += block) {
    const int k = std::min(block, in - from);
    // What this worker packs next: the rest of these rows, or rows a round of the threads further on.
    const int next = from + k < in ? n0 : n0 + group() * static_cast<int>(workers_.size()), at = from + k < in ? from + k : 0;
    const Ahead ahead{data + next * stride + static_cast<int64_t>(at) * bytes, stride, std::clamp(weight.out - next, 0, group()),
                      std::min(block, in - at) * bytes};
    pack_weight(f, panels, weight, n0, cols, from, k);
    multiply(f, c, tiles + m0 / k_.tile_rows * tile_words(f, in), in, units(f, from), panels, rows, units(f, k), cols, from > 0, ahead);
  }
}

// Stores w.c with bias and adapters to columns [n0, n0 + cols) of the part.
template <class A>
void FastBackend<A>::finish_group(Worker& w, const LinearPart& part, int n0, int cols, int m0, int rows, E* y, int ldy,
                                  const UseTiles* uses, int n_uses) {
  const int T = k_.tile_rows, end = m0 + rows;
  const float* c = w.c.template get<float>(0);
  const float* bias = part.w->bias ? part.w->bias + n0 : nullptr;
  auto store = [&](int t, const float* lora, float scaling) {
    e_.finish(y + static_cast<int64_t>(t) * ldy + part.y_col + n0, c + static_cast<int64_t>(t - m0) * group(), bias, lora,
              scaling, cols);
  };
  int t = m0;
  for (int i = 0; i < n_uses; ++i) {
    const LoraUse& use = *uses[i].use;
    const int from = std::max(use.begin, m0), to = std::min(use.end, end);
    if (from >= to) continue;
    for (; t < from; ++t) store(t, nullptr, 0);
    const int64_t panel_words = static_cast<int64_t>(use.r) * k_.width;
    float* panels = w.thin_panel.template get<float>(static_cast<size_t>(use.r) * group());
    float* c2 = w.thin_c.template get<float>(static_cast<size_t>(T) * group());
    for (int v = 0; v * k_.lanes < cols; ++v)
      k_.pack_f32(panels + v / 2 * panel_words + v % 2 * k_.lanes, k_.width,
                  static_cast<const float*>(use.b) + static_cast<int64_t>(n0 + v * k_.lanes) * use.r, use.r,
                  std::min(k_.lanes, cols - v * k_.lanes), use.r);
    while (t < to) {
      const int tile = t / T, first = tile * T, last = std::min(first + T, to);
      k_.gemm_group_f32(c2, group(), u_tiles_.template get<float>(0) + uses[i].at + (tile - uses[i].first(T)) * uses[i].stride, 0, panels,
                        panel_words, last - first, use.r, cols, false, {});
      for (; t < last; ++t) {
        float* lora = c2 + static_cast<int64_t>(t - first) * group();
        if (use.bias)
          for (int o = 0; o < cols; ++o) lora[o] += static_cast<const float*>(use.bias)[n0 + o];
        store(t, lora, use.scaling);
      }
    }
  }
  for (; t < end; ++t) store(t, nullptr, 0);
}

template <class A>
void FastBackend<A>::linear(const Linear& op) {
  ran("linear");
  if (op.n == 0 || op.parts.count == 0) return;
  const int in = op.parts[0].w->in, T = k_.tile_rows, tiles = (op.n + T - 1) / T;
  const int block_tiles = std::clamp(tiles / (4 * pool().threads()), 1, 8);  // tiles of a phase 1 task
  const Form f = form_of(op.parts), own = own_form();
  uint32_t* packed = x_tiles_.template get<uint32_t>(static_cast<size_t>(tiles * tile_words(f, in)));

  std::vector<UseTiles> uses;
  std::vector<int> first_use(static_cast<size_t>(op.parts.count) + 1);
  int64_t words = 0;
  for (int p = 0; p < op.parts.count; ++p) {
    for (int l = 0; l < op.parts[p].lora.count; ++l) {
      const LoraUse& use = op.parts[p].lora[l];
      const int64_t stride = static_cast<int64_t>(use.r) * k_.tile_width;
      uses.push_back({&use, op.parts[p].site, words, stride});
      words += stride * (uses.back().last(T) - uses.back().first(T));
    }
    first_use[static_cast<size_t>(p) + 1] = static_cast<int>(uses.size());
  }
  u_tiles_.template get<float>(static_cast<size_t>(words));
  uint32_t* own_packed = f == own || uses.empty() ? packed : x_own_tiles_.template get<uint32_t>(static_cast<size_t>(tiles * tile_words(own, in)));

  // Phase 1, per block of tiles: pack x, then u of every adapter that has tokens there.
  pool().run_ranges(tiles, block_tiles, [&](int64_t begin, int64_t end, int worker) {
    const int first = static_cast<int>(begin), last = static_cast<int>(end);
    pack_tiles(f, acts(op.x), in, op.n, in, first, last - first, packed);
    if (own_packed != packed) pack_tiles(own, acts(op.x), in, op.n, in, first, last - first, own_packed);
    for (const UseTiles& lora : uses)
      if (lora.first(T) < last && lora.last(T) > first)
        lora_down(workers_[static_cast<size_t>(worker)], lora, own_packed, in, std::max(first, lora.first(T)), std::min(last, lora.last(T)),
                  op.dropout);
  });

  std::vector<int64_t> first_group(static_cast<size_t>(op.parts.count) + 1);
  for (int p = 0; p < op.parts.count; ++p)
    first_group[static_cast<size_t>(p) + 1] = first_group[static_cast<size_t>(p)] + (op.parts[p].w->out + group() - 1) / group();
  const int blocks = row_blocks(op.n, first_group.back()), block_rows = ((op.n + blocks - 1) / blocks + T - 1) / T * T;
  pool().run(first_group.back() * blocks, [&](int64_t task, int worker) {
    const int64_t index = task / blocks;
    const int m0 = static_cast<int>(task % blocks) * block_rows, rows = std::min(block_rows, op.n - m0);
    if (rows <= 0) return;
    size_t p = 0;
    while (index >= first_group[p + 1]) ++p;
    const int n0 = static_cast<int>(index - first_group[p]) * group(), cols = std::min(group(), op.parts[p].w->out - n0);
    Worker& w = workers_[static_cast<size_t>(worker)];
    project_group(f, w, *op.parts[p].w, n0, cols, packed, m0, rows);
    finish_group(w, op.parts[p], n0, cols, m0, rows, acts(op.y), op.ldy, uses.data() + first_use[p], first_use[p + 1] - first_use[p]);
  });
}

template <class A>
void FastBackend<A>::logits(const Logits& op) {
  ran("logits");
  if (op.n == 0) return;
  const int T = k_.tile_rows, tiles = (op.n + T - 1) / T;
  const Form f = form_of(op.head);
  uint32_t* packed = x_tiles_.template get<uint32_t>(static_cast<size_t>(tiles * tile_words(f, op.head.in)));
  pool().run(tiles, [&](int64_t t, int) { pack_tiles(f, acts(op.x), op.head.in, op.n, op.head.in, static_cast<int>(t), 1, packed); });
  const int64_t groups = (op.head.out + group() - 1) / group();
  const int blocks = row_blocks(op.n, groups), block_rows = ((op.n + blocks - 1) / blocks + T - 1) / T * T;
  pool().run(groups * blocks, [&](int64_t task, int worker) {
    const int n0 = static_cast<int>(task / blocks) * group(), cols = std::min(group(), op.head.out - n0);
    const int m0 = static_cast<int>(task % blocks) * block_rows, rows = std::min(block_rows, op.n - m0);
    if (rows <= 0) return;
    Worker& w = workers_[static_cast<size_t>(worker)];
    project_group(f, w, op.head, n0, cols, packed, m0, rows);
    const float* c = w.c.template get<float>(0);
    for (int i = 0; i < rows; ++i)
      std::memcpy(static_cast<float*>(op.logits) + static_cast<int64_t>(m0 + i) * op.head.out + n0, c + static_cast<int64_t>(i) * group(),
                  sizeof(float) * static_cast<size_t>(cols));
  });
}

}  // namespace steerlab
