// Packing and matrix multiplication, templated on the Simd of the including kernels_<isa>.cpp. Layouts: kernels.h.
#pragma once
#include "kernels.h"

namespace {

using steerlab::Bf16;

inline const uint16_t* raw(const Bf16* p) { return reinterpret_cast<const uint16_t*>(p); }
inline uint16_t* raw(Bf16* p) { return reinterpret_cast<uint16_t*>(p); }
inline const float* raw(const float* p) { return p; }
inline float* raw(float* p) { return p; }

// Distance ahead, in bytes, at which packing asks for the lines of each row.
constexpr int kPrefetch = 512;

// A whole vector of 32-bit words from each of `lanes` rows, transposed; in registers throughout.
inline void load_whole(Simd::I r[Simd::lanes], const char* src, int64_t row_bytes) {
#pragma GCC unroll 16
  for (int i = 0; i < Simd::lanes; ++i) {
    __builtin_prefetch(src + i * row_bytes + kPrefetch);
    r[i] = Simd::load_words(src + i * row_bytes);
  }
  Simd::transpose(r);
}

// The same for fewer rows, or for fewer bytes at the end of the rows.
inline void load_part_of(Simd::I r[Simd::lanes], const char* src, int64_t row_bytes, int rows, int bytes) {
  for (int i = 0; i < Simd::lanes; ++i) r[i] = i < rows ? Simd::load_bytes(src + i * row_bytes, bytes) : Simd::no_words();
  Simd::transpose(r);
}

// Calls store(r, byte offset, words) for every vector of the rows.
template <class Store>
inline void for_transposed(const char* src, int64_t row_bytes, int rows, int64_t bytes, const Store& store) {
  constexpr int full = Simd::lanes * 4;
  Simd::I r[Simd::lanes];
  int64_t at = 0;
  if (rows == Simd::lanes) {
    for (; at + full <= bytes; at += full) {
      load_whole(r, src + at, row_bytes);
      store(r, at, Simd::lanes);
    }
  }
  for (; at < bytes; at += full) {
    const int left = static_cast<int>(bytes - at < full ? bytes - at : full);
    load_part_of(r, src + at, row_bytes, rows, left);
    store(r, at, (left + 3) / 4);
  }
}

// 32-bit words as they are: f32 elements, or bf16 pairs. `bytes` is the length of a row; Whole stores all words of a vector.
template <bool Whole>
inline void pack_words(char* dst, int stride, const char* src, int64_t row_bytes, int rows, int64_t bytes) {
  for_transposed(src, row_bytes, rows, bytes, [&](const Simd::I* r, int64_t at, int words) {
    char* to = dst + at * stride;
    if (Whole || words == Simd::lanes) {
#pragma GCC unroll 16
      for (int i = 0; i < Simd::lanes; ++i) Simd::store_words(to + static_cast<int64_t>(i) * stride * 4, r[i]);
    } else {
      for (int i = 0; i < words; ++i) Simd::store_words(to + static_cast<int64_t>(i) * stride * 4, r[i]);
    }
  });
}

inline void pack_f32(float* dst, int stride, const float* src, int64_t lds, int rows, int k) {
  pack_words<false>(reinterpret_cast<char*>(dst), stride, reinterpret_cast<const char*>(src), lds * 4, rows, int64_t{4} * k);
}

inline void pack_pairs(uint32_t* dst, int stride, const Bf16* src, int64_t lds, int rows, int k) {
  static_assert(Simd::pair_block == 1 || Simd::pair_block == Simd::lanes);
  pack_words<Simd::pair_block != 1>(reinterpret_cast<char*>(dst), stride, reinterpret_cast<const char*>(src), lds * 2, rows, int64_t{2} * k);
}

inline void pack_bf16(float* dst, int stride, const Bf16* src, int64_t lds, int rows, int k) {
  for_transposed(reinterpret_cast<const char*>(src), lds * 2, rows, int64_t{2} * k, [&](const Simd::I* r, int64_t at, int words) {
    float* to = dst + at / 2 * stride;
    const int left = k - static_cast<int>(at / 2);  // columns from here on
    if (left >= 2 * Simd::lanes) {
#pragma GCC unroll 16
      for (int i = 0; i < Simd::lanes; ++i) {
        Simd::store_words(to + static_cast<int64_t>(2 * i) * stride, Simd::low_bf16(r[i]));
        Simd::store_words(to + static_cast<int64_t>(2 * i + 1) * stride, Simd::high_bf16(r[i]));
      }
    } else {
      for (int i = 0; i < words; ++i) {
        Simd::store_words(to + static_cast<int64_t>(2 * i) * stride, Simd::low_bf16(r[i]));
        if (2 * i + 1 < left) Simd::store_words(to + static_cast<int64_t>(2 * i + 1) * stride, Simd::high_bf16(r[i]));
      }
    }
  });
}

template <class E>
inline void copy_panel(float* dst, const E* src, int64_t lds, int k, int columns) {
  constexpr int L = Simd::lanes;
  for (int i = 0; i < k; ++i, dst += 2 * L, src += lds) {
    __builtin_prefetch(src + 8 * lds);
    for (int v = 0; v < 2; ++v) {
      const int n = columns - v * L;
      Simd::store(dst + v * L, n >= L ? Simd::load(raw(src) + v * L) : n > 0 ? Simd::load_part(raw(src) + v * L, n) : Simd::zero());
    }
  }
}

inline void copy_pairs(uint32_t* dst, const Bf16* src, int64_t lds, int k, int columns) {
  constexpr int L = Simd::lanes;
  for (int i = 0; i < k; i += 2, dst += 2 * L, src += 2 * lds) {
    __builtin_prefetch(src + 8 * lds);
    __builtin_prefetch(src + 9 * lds);
    for (int v = 0; v < 2; ++v) {
      const int n = columns - v * L < L ? columns - v * L : L;
      if (n <= 0) {
        Simd::store_words(dst + v * L, Simd::no_words());
        continue;
      }
      const Simd::I even = Simd::load_half_words(raw(src) + v * L, n);
      const Simd::I odd = i + 1 < k ? Simd::load_half_words(raw(src) + lds + v * L, n) : Simd::no_words();
      Simd::store_words(dst + v * L, Simd::interleave(even, odd));
    }
  }
  for (int i = (k + 1) / 2; i % Simd::pair_block; ++i, dst += 2 * L)
    for (int v = 0; v < 2; ++v) Simd::store_words(dst + v * L, Simd::no_words());
}

// One f32 step: acc + x * w with a single rounding.
struct ScalarStep {
  static constexpr int products = 1;
  using Word = float;
  using Wide = Simd::V;
  static Wide load(const float* p) { return Simd::load(p); }
  static Wide broadcast(const float* p) { return Simd::set1(*p); }
  static Simd::V step(Simd::V acc, Wide x, Wide w) { return Simd::fma(x, w, acc); }
};

// One pair step: acc + x0 w0 + x1 w1.
struct PairStep {
  static constexpr int products = 2;
  using Word = uint32_t;
  using Wide = Simd::I;
  static Wide load(const uint32_t* p) { return Simd::load_words(p); }
  static Wide broadcast(const uint32_t* p) { return Simd::words1(*p); }
  static Simd::V step(Simd::V acc, Wide x, Wide w) { return Simd::pair_dot(acc, x, w); }
};

// R rows by NV vectors of c in registers. The rows of `left` are reached from a base for every five of them, by the address forms
// that x86 has (1, 2 and 4 times a stride, and one more stride): 14 pointers would not fit its registers.
template <class Step, int R, int NV>
inline void gemm_tile(float* c, int64_t ldc, const typename Step::Word* left, int64_t ldl, const typename Step::Word* panel, int steps,
                      bool accumulate) {
  constexpr int L = Simd::lanes, each = 5;
  Simd::V acc[R][NV];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < NV; ++v) acc[r][v] = accumulate ? Simd::load(c + r * ldc + v * L) : Simd::zero();
  const typename Step::Word* base[(R + each - 1) / each];
#pragma GCC unroll 16
  for (int b = 0; b * each < R; ++b) base[b] = left + b * each * ldl;
  const int64_t three = 3 * ldl;
  for (int k = 0; k < steps; ++k, panel += 2 * L) {
    typename Step::Wide w[NV];
#pragma GCC unroll 2
    for (int v = 0; v < NV; ++v) w[v] = Step::load(panel + v * L);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const int i = r % each;
      const typename Step::Wide x = Step::broadcast(base[r / each] + (i == 3 ? three : i * ldl));
#pragma GCC unroll 2
      for (int v = 0; v < NV; ++v) acc[r][v] = Step::step(acc[r][v], x, w[v]);
    }
#pragma GCC unroll 16
    for (int b = 0; b * each < R; ++b) {
      ++base[b];
      asm("" : "+r"(base[b]));  // or the compiler makes 14 pointers of them
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < NV; ++v) Simd::store(c + r * ldc + v * L, acc[r][v]);
}

template <class Step, int R>
inline void gemm_rows(float* c, int64_t ldc, const typename Step::Word* left, int64_t ldl, const typename Step::Word* panel, int rows, int steps,
                      int vectors, bool accumulate) {
  if (rows == R) {
    if (vectors == 1) gemm_tile<Step, R, 1>(c, ldc, left, ldl, panel, steps, accumulate);
    else gemm_tile<Step, R, 2>(c, ldc, left, ldl, panel, steps, accumulate);
  } else if constexpr (R > 1) {
    gemm_rows<Step, R - 1>(c, ldc, left, ldl, panel, rows, steps, vectors, accumulate);
  }
}

// Calls f(first row, rows, part, parts): as few parts as the registers allow, of nearly equal size, as a small rest would leave the
// multipliers idle.
template <class F>
inline void for_parts(int rows, const F& f) {
  constexpr int R = Simd::register_rows;
  const int parts = (rows + R - 1) / R, least = parts ? rows / parts : 0, larger = parts ? rows % parts : 0;
  for (int p = 0, row = 0; p < parts; ++p) {
    const int mine = least + (p < larger);
    f(row, mine, p, parts);
    row += mine;
  }
}

template <class Step>
inline void gemm(float* c, int64_t ldc, const typename Step::Word* left, int64_t ldl, const typename Step::Word* panel, int rows, int steps,
                 int vectors, bool accumulate) {
  for_parts(rows, [&](int row, int mine, int, int) {
    gemm_rows<Step, Simd::register_rows>(c + row * ldc, ldc, left + row * ldl, ldl, panel, mine, steps, vectors, accumulate);
  });
}

// Asks for lines [from, to) of the memory described; line i is line i % lines_per_row of row i / lines_per_row.
inline void ask(const steerlab::Ahead& ahead, int64_t from, int64_t to) {
  const int64_t lines = (ahead.bytes + 63) / 64;
  int64_t row = from / lines, line = from % lines;
  for (int64_t i = from; i < to; ++i) {
    __builtin_prefetch(ahead.base + row * ahead.stride + line * 64, 0, 2);
    if (++line == lines) line = 0, ++row;
  }
}

template <class Step>
inline void gemm_group(float* c, int64_t ldc, const typename Step::Word* left, int64_t ldl, const typename Step::Word* panels,
                       int64_t panel_stride, int rows, int steps, int columns, bool accumulate, const steerlab::Ahead& ahead) {
  constexpr int L = Simd::lanes, width = 2 * L;
  const int64_t lines = ahead.rows * int64_t{(ahead.bytes + 63) / 64};
  for_parts(rows, [&](int row, int mine, int part, int parts) {
    if (lines) ask(ahead, lines * part / parts, lines * (part + 1) / parts);
    for (int from = 0; from < columns; from += width)
      gemm_rows<Step, Simd::register_rows>(c + row * ldc + from, ldc, left + row * ldl, ldl, panels + from / width * panel_stride, mine, steps,
                                           columns - from > L ? 2 : 1, accumulate);
  });
}

template <class Step>
inline double peak_of(int64_t rounds, float* sink) {
  constexpr int chains = 12;  // enough for six cycles of latency on two ports
  Simd::V acc[chains];
  const typename Step::Word one{};
  typename Step::Wide x = Step::broadcast(&one);
#pragma GCC unroll 12
  for (int i = 0; i < chains; ++i) acc[i] = Simd::set1(sink[i % 4]);
  for (int64_t k = 0; k < rounds; ++k) {
#pragma GCC unroll 12
    for (int i = 0; i < chains; ++i) {
      acc[i] = Step::step(acc[i], x, x);
#if defined(__x86_64__)
      asm volatile("" : "+v"(acc[i]));  // chains with equal values must not be merged
#else
      asm volatile("" : "+w"(acc[i]));
#endif
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < chains; ++i) sink[i % 4] += Simd::sum(acc[i]);
  const double per_step = 2.0 * Simd::lanes * Step::products;
  return per_step * chains * static_cast<double>(rounds);
}

inline double peak(int64_t rounds, bool pairs, float* sink) {
  return pairs && Simd::has_pair_dot ? peak_of<PairStep>(rounds, sink) : peak_of<ScalarStep>(rounds, sink);
}

}  // namespace
