// Matrix-register (AMX) versions of the kernels on bf16 pairs. Included only by kernels_amx.cpp. Layouts: kernels.h.
//
// A register holds 16 rows of 64 bytes. tdpbf16ps: C[16][16] += A[16][16 pairs] B[16 pairs][16], each product pair added in
// f32 with one rounding a product, in pair order, so a row's result does not depend on the other rows. Denormals count as zero.
// Four accumulators C (32 x 32), two A, two B use all eight registers.
// Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18.
#pragma once
#include <cstring>

#include "row_kernels.h"

namespace {

constexpr int kBlockWords = 16 * Simd::tile_rows;  // one block of 16 steps of a tile
constexpr int kPanelWidth = 2 * Simd::lanes;

// All registers as 16 rows of 64 bytes while in scope. Registers in their initial state cost the system nothing to switch.
struct MatrixRegisters {
  struct alignas(64) Configuration {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  };
  MatrixRegisters() {
    static constexpr Configuration all;
    _tile_loadconfig(&all);
  }
  ~MatrixRegisters() { _tile_release(); }
};

// Asks for the lines of `ahead` a few at a time: a burst of them would hold up the products.
struct Asker {
  const char* row;
  int64_t stride, lines, line = 0, left;
  int each;  // lines at a time
  Asker(const steerlab::Ahead& ahead, int64_t times)
      : row(ahead.base), stride(ahead.stride), lines((ahead.bytes + 63) / 64), left(ahead.rows * lines),
        each(static_cast<int>((left + times - 1) / times)) {}
  void some() {
    for (int i = 0; i < each && left; ++i, --left) {
      __builtin_prefetch(row + line * 64, 0, 2);
      if (++line == lines) line = 0, row += stride;
    }
  }
};

// c (32 or 16 rows, 32 or 16 columns) (+)= sum over pieces of tile[piece] times panel. The intrinsics do not tell the compiler
// that they read memory.
template <int Pieces, bool Low, bool Right>
inline void amx_block(float* c, int64_t ldc, const uint32_t* tile, int64_t piece_words, const uint32_t* panel, int steps, bool accumulate,
                      Asker& ahead) {
  const int64_t row = ldc * 4;
  asm volatile("" ::: "memory");
  if (accumulate) {
    _tile_loadd(0, c, row);
    if (Right) _tile_loadd(1, c + 16, row);
    if (Low) _tile_loadd(2, c + 16 * ldc, row);
    if (Low && Right) _tile_loadd(3, c + 16 * ldc + 16, row);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  const uint32_t* right = panel + static_cast<int64_t>(steps) * 16;
  for (int k = 0; k < steps; k += 16, tile += kBlockWords, panel += 16 * 16, right += 16 * 16) {
    _tile_loadd(6, panel, 64);
    if (Right) _tile_loadd(7, right, 64);
    ahead.some();
#pragma GCC unroll 3
    for (int piece = 0; piece < Pieces; ++piece) {
      const uint32_t* rows = tile + piece * piece_words;
      _tile_loadd(4, rows, 64);
      _tile_dpbf16ps(0, 4, 6);
      if (Right) _tile_dpbf16ps(1, 4, 7);
      if (Low) {
        _tile_loadd(5, rows + kBlockWords / 2, 64);
        _tile_dpbf16ps(2, 5, 6);
        if (Right) _tile_dpbf16ps(3, 5, 7);
      }
    }
  }
  _tile_stored(0, c, row);
  if (Right) _tile_stored(1, c + 16, row);
  if (Low) _tile_stored(2, c + 16 * ldc, row);
  if (Low && Right) _tile_stored(3, c + 16 * ldc + 16, row);
}

template <int Pieces>
inline void amx_gemm_group(float* c, int64_t ldc, const uint32_t* tiles, int64_t tile_stride, int64_t piece_words, const uint32_t* panels,
                           int64_t panel_stride, int rows, int steps, int columns, bool accumulate, const steerlab::Ahead& ahead) {
  constexpr int T = Simd::tile_rows;
  using Block = void (*)(float*, int64_t, const uint32_t*, int64_t, const uint32_t*, int, bool, Asker&);
  static constexpr Block blocks[2][2] = {{amx_block<Pieces, false, false>, amx_block<Pieces, false, true>},
                                         {amx_block<Pieces, true, false>, amx_block<Pieces, true, true>}};
  const MatrixRegisters registers;
  const int64_t count = (rows + T - 1) / T;
  Asker asker(ahead, count * ((columns + kPanelWidth - 1) / kPanelWidth) * (steps / 16));
  for (int64_t t = 0; t < count; ++t) {
    const int left = rows - static_cast<int>(t) * T, mine = left < T ? left : T;
    for (int from = 0; from < columns; from += kPanelWidth) {
      float* to = c + t * T * ldc + from;
      const uint32_t *tile = tiles + t * tile_stride, *panel = panels + from / kPanelWidth * panel_stride;
      const bool right = columns - from > 16;
      const Block block = blocks[mine > 16][right];
      if (mine % 16 == 0) {
        block(to, ldc, tile, piece_words, panel, steps, accumulate, asker);
        continue;
      }
      // A register is stored whole: rows that c does not have end in a copy.
      alignas(64) float edge[T * kPanelWidth];
      const size_t bytes = right ? 128 : 64;
      if (accumulate)
        for (int r = 0; r < mine; ++r) std::memcpy(edge + r * kPanelWidth, to + r * ldc, bytes);
      block(edge, kPanelWidth, tile, piece_words, panel, steps, accumulate, asker);
      for (int r = 0; r < mine; ++r) std::memcpy(to + r * ldc, edge + r * kPanelWidth, bytes);
    }
  }
}

inline void amx_gemm_group_pairs(float* c, int64_t ldc, const uint32_t* tiles, int64_t tile_stride, const uint32_t* panels,
                                 int64_t panel_stride, int rows, int steps, int columns, bool accumulate, const steerlab::Ahead& ahead) {
  amx_gemm_group<1>(c, ldc, tiles, tile_stride, 0, panels, panel_stride, rows, steps, columns, accumulate, ahead);
}

inline void amx_tile_pairs(uint32_t* dst, const Bf16* src, int64_t lds, int rows, int k) {
  for (int r = 0; r < rows; ++r) {
    const Bf16* row = src + r * lds;
    uint32_t* to = dst + r * 16;
    int i = 0;
    for (; i + 32 <= k; i += 32, to += kBlockWords) Simd::store_words(to, Simd::load_words(row + i));
    if (i < k) Simd::store_words(to, Simd::load_bytes(row + i, 2 * (k - i)));
  }
}

// As copy_pairs() of panel_kernels.h, in the layout of matrix registers.
inline void amx_copy_pairs(uint32_t* dst, const Bf16* src, int64_t lds, int k, int columns) {
  const int steps = (k + 31) / 32 * 16;
  for (int v = 0; v < 2; ++v, dst += steps * 16, columns -= 16) {
    const int n = columns < 0 ? 0 : columns < 16 ? columns : 16;
    const uint16_t* row = raw(src) + v * 16;
    for (int i = 0; i < steps; ++i, row += 2 * lds) {
      const bool even = n && 2 * i < k, odd = n && 2 * i + 1 < k;
      if (odd) __builtin_prefetch(row + 16 * lds);
      if (odd) __builtin_prefetch(row + 17 * lds);
      Simd::store_words(dst + i * 16, Simd::interleave(even ? Simd::load_half_words(row, n) : Simd::no_words(),
                                                       odd ? Simd::load_half_words(row + lds, n) : Simd::no_words()));
    }
  }
}

// 32 elements of a row, rounded to bf16 in order; v keeps what rounding left.
inline Simd::I round_piece(Simd::V v[2]) {
  const Simd::I piece = reinterpret_cast<Simd::I>(_mm512_cvtne2ps_pbh(v[1], v[0]));
  v[0] = Simd::sub(v[0], Simd::widen(_mm512_castsi512_si256(piece)));
  v[1] = Simd::sub(v[1], Simd::widen(_mm512_extracti64x4_epi64(piece, 1)));
  return piece;
}

inline void amx_tile_pieces(uint32_t* dst, int64_t piece_words, const float* src, int64_t lds, int rows, int k) {
  for (int r = 0; r < rows; ++r) {
    const float* row = src + r * lds;
    uint32_t* to = dst + r * 16;
    for (int i = 0; i < k; i += 32, to += kBlockWords) {
      const int left = k - i;
      Simd::V v[2] = {left >= 16 ? Simd::load(row + i) : Simd::load_part(row + i, left),
                      left >= 32 ? Simd::load(row + i + 16) : left > 16 ? Simd::load_part(row + i + 16, left - 16) : Simd::zero()};
      for (int piece = 0; piece < 3; ++piece) Simd::store_words(to + piece * piece_words, round_piece(v));
    }
  }
}

inline void amx_drop_tile(uint32_t* dst, const uint32_t* src, int k, const steerlab::DropoutStream& stream, const uint32_t* examples,
                          const uint32_t* positions) {
  const int blocks = (k + 31) / 32;
  for (int r = 0; r < Simd::tile_rows; ++r)
    for (int b = 0; b < blocks; b += 2) {
      uint32_t kept[4];
      dropout_block(kept, stream, examples[r], positions[r], b * 32);
      for (int j = 0; j < 2 && b + j < blocks; ++j) {
        const int64_t at = static_cast<int64_t>(b + j) * kBlockWords + r * 16;
        Simd::store_words(dst + at, _mm512_maskz_mov_epi16(kept[2 * j] | kept[2 * j + 1] << 16, Simd::load_words(src + at)));
      }
    }
}

// As peak() of panel_kernels.h, with products of registers only.
inline double amx_peak(int64_t rounds, bool pairs, float* sink) {
  if (!pairs) return peak(rounds, false, sink);
  const MatrixRegisters registers;
  rounds /= 16;  // a product takes 16 cycles
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(6);
  for (int64_t k = 0; k < rounds; ++k) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 6);
    _tile_dpbf16ps(2, 4, 6);
    _tile_dpbf16ps(3, 4, 6);
  }
  return 4 * 2.0 * 16 * 16 * 32 * static_cast<double>(rounds);
}

}  // namespace
