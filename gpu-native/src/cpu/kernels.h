// The table of vector kernels of one instruction set. kernels_<isa>.cpp fills it from templates over simd_<isa>.h; fast.h and
// its bodies call through it. No kernel knows about threads or allocates.
//
// Layouts. A *panel* holds `width` (= 2 vectors) output columns of a matrix, step by step along the reduction:
// panel[step][width]. The left operand is row-major as activations are, rows `ldl` words apart. A step is one f32
// element, or in pair form two neighbouring bf16 in one 32-bit word (for vdpbf16ps). Every output element is one chain
// of multiply-adds in step order, so it does not depend on which other rows or columns are computed with it.
// Matrix registers (AMX) want blocks of 16 pairs: the left operand of pairs is then *tiles* of tile_rows rows,
// tile[step / 16][tile_rows][step % 16], ldl words from one to the next; pair panels are panel[column / 16][step][16] (a register's
// lines side by side: up to twice as fast as every second line); both are padded with zeros to whole blocks.
#pragma once
#include <cstdint>

#include "number.h"

namespace steerlab {

// Ops on single rows of activations, E = float or Bf16. All arithmetic in f32, rounded to E where plain_rows.h rounds.
template <class E>
struct RowKernels {
  void (*widen)(float* dst, const E* src, int64_t n);
  void (*narrow)(E* dst, const float* src, int64_t n);
  void (*add)(E* a, const E* b, int64_t n);
  void (*steer)(E* h, const float* vector, float magnitude, int n);  // h += round(magnitude * vector)
  void (*norm)(E* x, const E* h, const float* weight, float eps, int n);
  void (*norm_backward)(E* dh, const E* dx, const E* h, const float* weight, float eps, int n);
  void (*swiglu)(E* out, const E* gate, const E* up, int n);
  void (*swiglu_backward)(E* dgate, E* dup, const E* dout, const E* gate, const E* up, int n);
  void (*rotate)(E* dst, const E* src, const float* cos, const float* sin, int half, float turn);
  // Dropped elements become 0. keep_bits are those of the whole token, `first` the column where src begins (multiple of lanes).
  void (*widen_mask)(float* dst, const E* src, const uint32_t* keep_bits, int first, int n);
  void (*mask)(E* dst, const E* src, const uint32_t* keep_bits, int first, int n);
  // y = round(round(c + bias) + scaling * lora) for `rows` rows of n columns; rows of lora are ldc apart too; bias and lora may be null
  void (*finish)(E* y, int64_t ldy, const float* c, int64_t ldc, const float* bias, const float* lora, float scaling, int rows, int n);
  float (*dot)(const E* a, const E* b, int n);
};

// Memory that will be packed next: `rows` rows of `bytes` bytes, `stride` bytes apart. Asked for while multiplying.
struct Ahead {
  const char* base = nullptr;
  int64_t stride = 0;
  int rows = 0, bytes = 0;
};

// One projection's dropout in one optimizer step; elements whose word is below threshold are dropped.
struct DropoutStream {
  uint64_t seed;
  uint32_t step, site, threshold;
};

struct Kernels {
  const char* isa;
  int lanes, width, tile_rows;  // tile_rows: rows that are worked on together
  bool pair_dot;  // pair form available
  int pair_block;  // pairs are padded to a multiple of this many steps: 1, or 16 for matrix registers

  // `rows` <= lanes rows of src (row stride lds elements), columns [0, k), to dst[step * stride + row]; rows up to lanes are
  // zero-filled. pack_pairs pads odd k with zero to whole pair blocks.
  void (*pack_f32)(float* dst, int stride, const float* src, int64_t lds, int rows, int k);
  void (*pack_bf16)(float* dst, int stride, const Bf16* src, int64_t lds, int rows, int k);
  void (*pack_pairs)(uint32_t* dst, int stride, const Bf16* src, int64_t lds, int rows, int k);
  // k rows of src, `columns` <= width each, to dst[step * width + column], zero-filled to width.
  void (*copy_f32)(float* dst, const float* src, int64_t lds, int k, int columns);
  void (*copy_bf16)(float* dst, const Bf16* src, int64_t lds, int k, int columns);
  void (*copy_pairs)(uint32_t* dst, const Bf16* src, int64_t lds, int k, int columns);

  // c[row * ldc + column] (+)= sum over steps of left[row][step] * panel[step][column], for `rows` rows.
  // vectors: 1 or 2 vectors of the panel are wanted.
  void (*gemm_f32)(float* c, int64_t ldc, const float* left, int64_t ldl, const float* panel, int rows, int steps, int vectors,
                   bool accumulate);
  // The same for `columns` columns over neighbouring panels, panel_stride words apart; rows visit all panels while they are in
  // the nearest cache.
  void (*gemm_group_f32)(float* c, int64_t ldc, const float* left, int64_t ldl, const float* panels, int64_t panel_stride, int rows,
                         int steps, int columns, bool accumulate, const Ahead& ahead);
  void (*gemm_group_pairs)(float* c, int64_t ldc, const uint32_t* left, int64_t ldl, const uint32_t* panels, int64_t panel_stride,
                           int rows, int steps, int columns, bool accumulate, const Ahead& ahead);

  // Null without matrix registers. tile_pairs: `rows` <= tile_rows rows of src to one tile; further rows of the tile are left as
  // they are. tile_pieces: f32 rows as three bf16 pieces, hi + mid + lo (8 bits of mantissa each): three tiles, piece_words apart;
  // gemm_group_pieces is gemm_group_pairs with such tiles, adding all pieces. drop_tile: dst = src with dropped elements zero, both
  // one tile over k columns; row i of the tile is token (examples[i], positions[i]). Same stream as dropout_words().
  void (*tile_pairs)(uint32_t* dst, const Bf16* src, int64_t lds, int rows, int k);
  void (*tile_pieces)(uint32_t* dst, int64_t piece_words, const float* src, int64_t lds, int rows, int k);
  void (*gemm_group_pieces)(float* c, int64_t ldc, const uint32_t* tiles, int64_t ldl, int64_t piece_words, const uint32_t* panels,
                            int64_t panel_stride, int rows, int steps, int columns, bool accumulate, const Ahead& ahead);
  void (*drop_tile)(uint32_t* dst, const uint32_t* src, int k, const DropoutStream& stream, const uint32_t* examples,
                    const uint32_t* positions);

  RowKernels<float> f32;
  RowKernels<Bf16> bf16;

  // Bit c of `bits` (32 columns a word): column c of the token is kept. Same stream as dropout_words().
  void (*dropout_bits)(uint32_t* bits, const DropoutStream& stream, uint32_t example, uint32_t position, int columns);
  void (*mask_add)(float* c, const float* add, const uint32_t* keep_bits, int first, int n);  // c += add where kept
  void (*axpy)(float* y, const float* x, float a, int64_t n);  // y += a x
  void (*scale)(float* y, float a, int64_t n);
  float (*largest)(const float* x, int64_t n);
  double (*sum_exp)(const float* x, float shift, int64_t n);  // sum of exp(x - shift)
  // y = factor * exp(x - shift); y may be x
  void (*exps)(float* y, const float* x, float shift, float factor, int64_t n);
  // With p = exp(b - b_shift), q = exp(l - l_shift): returns the sum of p ((b - l) + shift), shift = l_shift - b_shift to more digits
  // than their difference has; y = factor (q - p) if y, which may be l.
  double (*match)(float* y, const float* l, const float* b, float l_shift, float b_shift, float shift, float factor, int64_t n);
  // In place: s[0, seen) -> exp(scale s - max), s[seen, padded) -> 0. Returns the sum; *top = max of scale s.
  float (*softmax)(float* s, int seen, int padded, float scale, float* top);
  // p = exp(scale s - lse) on [0, seen), ds = p (dp - delta) scale; zero on [seen, padded). p replaces s, ds replaces dp.
  void (*softmax_backward)(float* s, float* dp, int seen, int padded, float scale, float lse, float delta);
  void (*adamw)(float* p, float* m, float* v, const float* g, int64_t n, const float* constants);  // see adamw in row_kernels.h
  double (*squares)(const float* x, int64_t n);
  // `rounds` dependent multiply-adds in each of 12 registers and nothing else: the machine's peak, for the measurements.
  // Returns the number of floating-point operations done.
  double (*peak)(int64_t rounds, bool pairs, float* sink);
};

// Null when the processor (or the compiler) lacks the instruction set.
const Kernels* kernels_amx();
const Kernels* kernels_avx512bf16();
const Kernels* kernels_avx512();
const Kernels* kernels_avx2();
const Kernels* kernels_neon();

}  // namespace steerlab
