// Forward projections on the vector engine.
//
// Two parallel phases. 1, where x cannot be multiplied as it lies or has adapters: copy x; u = dropout(x) A^T for every adapter.
// 2: for every group of output columns pack the weights, multiply some rows after the other and store them with bias and u B^T.
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
typename FastBackend<A>::Left FastBackend<A>::left_of(Form f, const E* x, int64_t ldx, int k, uint32_t* copy) const {
  if (in_place(f, x, ldx, k)) return {reinterpret_cast<const uint32_t*>(x), ldx * static_cast<int64_t>(sizeof(E)) / 4};
  return {copy, copied_words(f, k)};
}

template <class A>
void FastBackend<A>::copy_rows(Form f, const E* x, int64_t ldx, int k, int from, int to, uint32_t* copy) const {
  if (in_place(f, x, ldx, k)) return;
  const int step = matrix(f) ? k_.tile_rows : 1;
  for (int row = from; row < to; row += step) {
    const E* src = x + row * ldx;
    uint32_t* dst = copy + row / step * copied_words(f, k);
    if constexpr (sizeof(E) == 4) {
      k_.tile_pieces(dst, piece_words(f, k), src, ldx, std::min(step, to - row), k);
    } else if (matrix(f)) {
      k_.tile_pairs(dst, src, ldx, std::min(step, to - row), k);
    } else if (f.pairs) {
      dst[units(f, k) - 1] = 0;  // k may be odd
      std::memcpy(static_cast<void*>(dst), src, sizeof(E) * static_cast<size_t>(k));
    } else {
      e_.widen(reinterpret_cast<float*>(dst), src, k);
    }
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
void FastBackend<A>::multiply(Form f, float* c, Left left, int in, int first, const uint32_t* panels, int rows, int steps, int columns,
                              bool accumulate, const Ahead& ahead) const {
  const int64_t panel_words = static_cast<int64_t>(steps) * k_.width;
  const uint32_t* at = left.at + static_cast<int64_t>(first) * (matrix(f) ? k_.tile_rows : 1);
  if (f.pieces > 1)
    k_.gemm_group_pieces(c, group(), at, left.ld, piece_words(f, in), panels, panel_words, rows, steps, columns, accumulate, ahead);
  else if (f.pairs) k_.gemm_group_pairs(c, group(), at, left.ld, panels, panel_words, rows, steps, columns, accumulate, ahead);
  else
    k_.gemm_group_f32(c, group(), reinterpret_cast<const float*>(at), left.ld, reinterpret_cast<const float*>(panels), panel_words, rows,
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

// u of one adapter over the tiles [first, last) of x, for its own tokens.
template <class A>
void FastBackend<A>::lora_down(Worker& w, const PartUse& lora, const E* x, Left left, int in, int first, int last,
                               const DropoutKey* dropout) {
  const LoraUse& use = *lora.use;
  const Form f = own_form();
  const int T = k_.tile_rows, steps = units(f, in), thin = thin_columns(), panels = (use.r + thin - 1) / thin;
  const int64_t panel_words = static_cast<int64_t>(steps) * k_.width;
  uint32_t* panel = w.thin_panel.template get<uint32_t>(static_cast<size_t>(panel_words * panels));
  for (int p = 0; p < panels; ++p)
    pack_thin(w, panel + p * panel_words, static_cast<const float*>(use.a) + static_cast<int64_t>(p) * thin * in, in,
              std::min(thin, use.r - p * thin), in);
  uint32_t* dropped = w.dropped.template get<uint32_t>(static_cast<size_t>(copied_words(f, T, in)));
  float* c = w.thin_c.template get<float>(static_cast<size_t>(T) * group());
  const bool drop = use.dropout > 0;
  const float factor = drop ? static_cast<float>(1.0 / (1.0 - static_cast<double>(use.dropout))) : 1.0f;

  for (int t = first; t < last; ++t) {
    const int from = std::max(t * T, use.begin), to = std::min((t + 1) * T, use.end), rows = to - t * T;
    if (from >= to) continue;
    if (drop)
      drop_rows(w, dropped, x, left, in, {dropout->seed, dropout->step, lora.site, dropout_threshold(use.dropout)}, *dropout, t, from, to);
    const Left tile = drop ? Left{dropped, copied_words(f, in)} : Left{row_of(f, left, t * T), left.ld};
    for (int p = 0; p < panels; ++p) {
      multiply(f, c, tile, in, 0, panel + p * panel_words, rows, steps, k_.width, false);
      for (int i = from; i < to; ++i)
        add_thin(static_cast<float*>(use.u) + static_cast<int64_t>(i - use.begin) * use.r + p * thin, c + static_cast<int64_t>(i - t * T) * group(),
                 factor, std::min(thin, use.r - p * thin));
    }
  }
}

// Dropout of the tokens [from, to) of a tile; other rows of dst are left as they are or repeat.
template <class A>
void FastBackend<A>::drop_rows(Worker& w, uint32_t* dst, const E* x, Left left, int in, const DropoutStream& stream, const DropoutKey& key,
                               int tile, int from, int to) const {
  const Form f = own_form();
  const int first = tile * k_.tile_rows;
  uint32_t examples[32] = {0}, positions[32] = {0};
  for (int t = from; t < to; ++t) {
    examples[t - first] = static_cast<uint32_t>(key.token_example[t]);
    positions[t - first] = static_cast<uint32_t>(key.token_position[t]);
  }
  if (matrix(f)) return k_.drop_tile(dst, row_of(f, left, first), in, stream, examples, positions);
  uint32_t* bits = w.bits.template get<uint32_t>(static_cast<size_t>(in / 32 + 1));
  for (int t = from; t < to; ++t) {
    uint32_t* row = dst + (t - first) * copied_words(f, in);
    const E* src = x + static_cast<int64_t>(t) * in;
    k_.dropout_bits(bits, stream, examples[t - first], positions[t - first], in);
    if (f.pairs) {
      row[units(f, in) - 1] = 0;  // `in` may be odd
      e_.mask(reinterpret_cast<E*>(row), src, bits, 0, in);
    } else {
      e_.widen_mask(reinterpret_cast<float*>(row), src, bits, 0, in);
    }
  }
}

// How many blocks of rows to split n rows into: enough tasks for all threads, at most about a thousand rows each.
template <class A>
int FastBackend<A>::row_blocks(int n, int64_t groups) const {
  const int threads = static_cast<int>(workers_.size()), most = (n + 47) / 48;
  const int wanted = static_cast<int>(threads == 1 ? 1 : (2 * threads + groups - 1) / std::max<int64_t>(groups, 1));
  return std::clamp(std::max(wanted, (n + 1007) / 1008), 1, std::max(most, 1));
}

// Rows [m0, m0 + rows) of x times columns [n0, n0 + cols) of W^T: finish(c (count, group()), first row, count) for a chunk of rows
// after the other.
template <class A>
template <class Finish>
void FastBackend<A>::project_group(Form f, Worker& w, const Weight& weight, int n0, int cols, Left left, int m0, int rows,
                                   const Finish& finish) {
  const int in = weight.in, block = reduction_block(f), bytes = static_cast<int>(bytes_of(weight.type));
  const bool whole = in <= block;  // then c holds one chunk
  uint32_t* panels = w.panel.template get<uint32_t>(static_cast<size_t>(units(f, std::min(in, block))) * group());
  float* c = w.c.template get<float>(static_cast<size_t>(whole ? std::min(chunk(), rows) : rows) * group());
  const char* data = static_cast<const char*>(weight.data);
  const int64_t stride = static_cast<int64_t>(in) * bytes;
  for (int from = 0; from < in; from += block) {
    const int k = std::min(block, in - from), step = from + k < in ? rows : chunk();
    // What this worker packs next: the rest of these rows, or rows a round of the threads further on.
    const int next = from + k < in ? n0 : n0 + group() * static_cast<int>(workers_.size()), at = from + k < in ? from + k : 0;
    const int wanted = std::clamp(weight.out - next, 0, group());
    pack_weight(f, panels, weight, n0, cols, from, k);
    for (int row = 0; row < rows; row += step) {
      const int count = std::min(step, rows - row), asked = wanted * row / rows;
      const Ahead ahead{data + (next + asked) * stride + static_cast<int64_t>(at) * bytes, stride, wanted * (row + count) / rows - asked,
                        std::min(block, in - at) * bytes};
      float* to = whole ? c : c + static_cast<int64_t>(row) * group();
      multiply(f, to, {row_of(f, left, m0 + row), left.ld}, in, units(f, from), panels, count, units(f, k), cols, from > 0, ahead);
      if (from + k == in) finish(to, m0 + row, count);
    }
  }
}

// Panels of B of every adapter, rows [n0, n0 + cols), one after the other in w.thin_panel; where it has tokens of [m0, m0 + rows).
template <class A>
void FastBackend<A>::pack_adapters(Worker& w, HostSpan<const PartUse> uses, int n0, int cols, int m0, int rows) const {
  int64_t ranks = 0;
  for (const PartUse& part : uses) ranks += part.use->r;
  float* panels = w.thin_panel.template get<float>(static_cast<size_t>(ranks) * group());
  for (const PartUse& part : uses) {
    const LoraUse& use = *part.use;
    for (int v = 0; use.begin < m0 + rows && use.end > m0 && v * k_.lanes < cols; ++v)
      k_.pack_f32(panels + (static_cast<int64_t>(v / 2) * use.r) * k_.width + v % 2 * k_.lanes, k_.width,
                  static_cast<const float*>(use.b) + static_cast<int64_t>(n0 + v * k_.lanes) * use.r, use.r,
                  std::min(k_.lanes, cols - v * k_.lanes), use.r);
    panels += static_cast<int64_t>(use.r) * group();
  }
}

// Stores the sums c of rows [m0, m0 + rows) with bias and adapters to columns [n0, n0 + cols) of the part.
template <class A>
void FastBackend<A>::finish_rows(Worker& w, const LinearPart& part, int n0, int cols, const float* c, int m0, int rows, E* y, int ldy,
                                 HostSpan<const PartUse> uses) const {
  const float* bias = part.w->bias ? part.w->bias + n0 : nullptr;
  const auto store = [&](int from, int to, const float* lora, float scaling) {
    e_.finish(y + static_cast<int64_t>(from) * ldy + part.y_col + n0, ldy, c + static_cast<int64_t>(from - m0) * group(), group(), bias, lora,
              scaling, to - from, cols);
  };
  float* panels = w.thin_panel.template get<float>(0);
  float* c2 = w.thin_c.template get<float>(static_cast<size_t>(uses.count ? rows : 0) * group());
  int t = m0;
  for (const PartUse& one : uses) {
    const LoraUse& use = *one.use;
    const int from = std::max(use.begin, m0), to = std::min(use.end, m0 + rows);
    if (from < to) {
      store(t, from, nullptr, 0);
      k_.gemm_group_f32(c2, group(), static_cast<const float*>(use.u) + static_cast<int64_t>(from - use.begin) * use.r, use.r, panels,
                        static_cast<int64_t>(use.r) * k_.width, to - from, use.r, cols, false, {});
      for (int i = 0; use.bias && i < to - from; ++i)
        for (int o = 0; o < cols; ++o) c2[static_cast<int64_t>(i) * group() + o] += static_cast<const float*>(use.bias)[n0 + o];
      store(from, to, c2, use.scaling);
      t = to;
    }
    panels += static_cast<int64_t>(use.r) * group();
  }
  store(t, m0 + rows, nullptr, 0);
}

template <class A>
void FastBackend<A>::linear(const Linear& op) {
  ran("linear");
  if (op.n == 0 || op.parts.count == 0) return;
  const int in = op.parts[0].w->in, T = k_.tile_rows, tiles = (op.n + T - 1) / T;
  const int shares = 2 * pool().threads(), block_tiles = std::clamp((tiles + shares - 1) / shares, 1, 16);  // of a phase 1 task
  const Form f = form_of(op.parts), own = own_form();
  const E* x = acts(op.x);

  std::vector<PartUse> uses;
  std::vector<int> first_use(static_cast<size_t>(op.parts.count) + 1);
  for (int p = 0; p < op.parts.count; ++p) {
    for (const LoraUse& use : op.parts[p].lora) uses.push_back({&use, op.parts[p].site});
    first_use[static_cast<size_t>(p) + 1] = static_cast<int>(uses.size());
  }
  const auto copy_in = [&](GrowingBuffer& buffer, Form form) {
    return buffer.template get<uint32_t>(static_cast<size_t>(in_place(form, x, in, in) ? 0 : copied_words(form, op.n, in)));
  };
  uint32_t *copy = copy_in(x_copy_, f), *own_copy = f == own || uses.empty() ? copy : copy_in(x_own_copy_, own);
  const Left left = left_of(f, x, in, in, copy), own_left = left_of(own, x, in, in, own_copy);

  if (!uses.empty() || left.at == copy)
    pool().run_ranges(tiles, block_tiles, [&](int64_t begin, int64_t end, int worker) {
      const int first = static_cast<int>(begin), last = static_cast<int>(end), rows = std::min(last * T, op.n);
      copy_rows(f, x, in, in, first * T, rows, copy);
      if (own_copy != copy) copy_rows(own, x, in, in, first * T, rows, own_copy);
      for (const PartUse& lora : uses)
        if (lora.use->begin < rows && lora.use->end > first * T)
          lora_down(workers_[static_cast<size_t>(worker)], lora, x, own_left, in, first, last, op.dropout);
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
    const LinearPart& part = op.parts[static_cast<int64_t>(p)];
    const int n0 = static_cast<int>(index - first_group[p]) * group(), cols = std::min(group(), part.w->out - n0);
    const HostSpan<const PartUse> mine(uses.data() + first_use[p], first_use[p + 1] - first_use[p]);
    Worker& w = workers_[static_cast<size_t>(worker)];
    pack_adapters(w, mine, n0, cols, m0, rows);
    project_group(f, w, *part.w, n0, cols, left, m0, rows, [&](const float* c, int row, int count) {
      finish_rows(w, part, n0, cols, c, row, count, acts(op.y), op.ldy, mine);
    });
  });
}

template <class A>
void FastBackend<A>::logits(const Logits& op) {
  ran("logits");
  if (op.n == 0) return;
  const int T = k_.tile_rows, tiles = (op.n + T - 1) / T, in = op.head.in;
  const Form f = form_of(op.head);
  const E* x = acts(op.x);
  uint32_t* copy = x_copy_.template get<uint32_t>(static_cast<size_t>(copied_words(f, op.n, in)));
  const Left left = left_of(f, x, in, in, copy);
  if (left.at == copy)
    pool().run(tiles, [&](int64_t t, int) {
      copy_rows(f, x, in, in, static_cast<int>(t) * T, std::min(static_cast<int>(t + 1) * T, op.n), copy);
    });
  const int64_t groups = (op.head.out + group() - 1) / group();
  const int blocks = row_blocks(op.n, groups), block_rows = ((op.n + blocks - 1) / blocks + T - 1) / T * T;
  pool().run(groups * blocks, [&](int64_t task, int worker) {
    const int n0 = static_cast<int>(task / blocks) * group(), cols = std::min(group(), op.head.out - n0);
    const int m0 = static_cast<int>(task % blocks) * block_rows, rows = std::min(block_rows, op.n - m0);
    if (rows <= 0) return;
    project_group(f, workers_[static_cast<size_t>(worker)], op.head, n0, cols, left, m0, rows, [&](const float* c, int row, int count) {
      for (int64_t i = 0; i < count; ++i)
        std::memcpy(static_cast<float*>(op.logits) + (row + i) * op.head.out + n0, c + i * group(), sizeof(float) * static_cast<size_t>(cols));
    });
  });
}

}  // namespace steerlab
