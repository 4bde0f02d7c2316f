// Elementwise, reduction and dropout kernels on rows, templated on the Simd of the including kernels_<isa>.cpp.
//
// exp: 2^n * polynomial of degree 6 on |r| <= ln(2)/2 (Cephes' expf coefficients), relative error below 2e-7 on [-87, 88];
// arguments outside are clamped there, NaN stays NaN.
#pragma once
#include "../rng.h"
#include "panel_kernels.h"

namespace {

using V = Simd::V;
constexpr int L = Simd::lanes;

// How many lanes of a vector are meant: all, or the first n at the end of a row.
struct Whole {};
struct Part {
  int n;
};
template <class E>
inline V get(const E* p, Whole) { return Simd::load(raw(p)); }
template <class E>
inline V get(const E* p, Part part) { return Simd::load_part(raw(p), part.n); }
template <class E>
inline void put(E* p, V v, Whole) { Simd::store(raw(p), v); }
template <class E>
inline void put(E* p, V v, Part part) { Simd::store_part(raw(p), v, part.n); }

// f(i, Whole) for every full vector of [0, n), then f(i, Part) for the rest.
template <class F>
inline void sweep(int64_t n, const F& f) {
  int64_t i = 0;
  for (; i + L <= n; i += L) f(i, Whole{});
  if (i < n) f(i, Part{static_cast<int>(n - i)});
}

template <class E>
inline V round_to(V v);
template <>
inline V round_to<float>(V v) { return v; }
template <>
inline V round_to<Bf16>(V v) { return Simd::round_bf16(v); }

inline V exp_of(V x) {
  x = Simd::min(Simd::set1(88.37f), Simd::max(Simd::set1(-87.33f), x));  // second operand wins when x is NaN
  const V n = Simd::nearest(Simd::mul(x, Simd::set1(1.44269504088896341f)));
  V r = Simd::fma(n, Simd::set1(-0.693359375f), x);
  r = Simd::fma(n, Simd::set1(2.12194440e-4f), r);
  V p = Simd::set1(1.9875691500e-4f);
  p = Simd::fma(p, r, Simd::set1(1.3981999507e-3f));
  p = Simd::fma(p, r, Simd::set1(8.3334519073e-3f));
  p = Simd::fma(p, r, Simd::set1(4.1665795894e-2f));
  p = Simd::fma(p, r, Simd::set1(1.6666665459e-1f));
  p = Simd::fma(p, r, Simd::set1(5.0000001201e-1f));
  p = Simd::fma(p, Simd::mul(r, r), r);
  return Simd::times_power_of_two(Simd::add(p, Simd::set1(1)), n);
}

inline V sigmoid(V x) { return Simd::div(Simd::set1(1), Simd::add(Simd::set1(1), exp_of(Simd::sub(Simd::zero(), x)))); }

// ---- one row of activations ----

template <class E>
void widen(float* dst, const E* src, int64_t n) {
  sweep(n, [&](int64_t i, auto part) { put(dst + i, get(src + i, part), part); });
}

template <class E>
void narrow(E* dst, const float* src, int64_t n) {
  sweep(n, [&](int64_t i, auto part) { put(dst + i, get(src + i, part), part); });
}

template <class E>
void add(E* a, const E* b, int64_t n) {
  sweep(n, [&](int64_t i, auto part) { put(a + i, Simd::add(get(a + i, part), get(b + i, part)), part); });
}

template <class E>
void steer(E* h, const float* vector, float magnitude, int n) {
  sweep(n, [&](int64_t i, auto part) {
    const V push = round_to<E>(Simd::mul(Simd::set1(magnitude), get(vector + i, part)));
    put(h + i, Simd::add(get(h + i, part), push), part);
  });
}

template <class E>
void norm(E* x, const E* h, const float* weight, float eps, int n) {
  V squares = Simd::zero();
  sweep(n, [&](int64_t i, auto part) {
    const V v = get(h + i, part);
    squares = Simd::fma(v, v, squares);
  });
  const V inverse = Simd::set1(1 / __builtin_sqrtf(Simd::sum(squares) / static_cast<float>(n) + eps));
  sweep(n, [&](int64_t i, auto part) {
    put(x + i, Simd::mul(round_to<E>(Simd::mul(get(h + i, part), inverse)), get(weight + i, part)), part);
  });
}

template <class E>
void norm_backward(E* dh, const E* dx, const E* h, const float* weight, float eps, int n) {
  V squares = Simd::zero(), along = Simd::zero();
  sweep(n, [&](int64_t i, auto part) {
    const V v = get(h + i, part);
    squares = Simd::fma(v, v, squares);
    along = Simd::fma(Simd::mul(get(dx + i, part), get(weight + i, part)), v, along);
  });
  const float s = 1 / __builtin_sqrtf(Simd::sum(squares) / static_cast<float>(n) + eps);
  const V scale = Simd::set1(s), pull = Simd::set1(-s * s * s * Simd::sum(along) / static_cast<float>(n));
  sweep(n, [&](int64_t i, auto part) {
    const V direct = Simd::mul(scale, Simd::mul(get(dx + i, part), get(weight + i, part)));
    put(dh + i, Simd::add(get(dh + i, part), Simd::fma(pull, get(h + i, part), direct)), part);
  });
}

template <class E>
void swiglu(E* out, const E* gate, const E* up, int n) {
  sweep(n, [&](int64_t i, auto part) {
    const V g = get(gate + i, part);
    put(out + i, Simd::mul(round_to<E>(Simd::mul(g, sigmoid(g))), get(up + i, part)), part);
  });
}

template <class E>
void swiglu_backward(E* dgate, E* dup, const E* dout, const E* gate, const E* up, int n) {
  sweep(n, [&](int64_t i, auto part) {
    const V g = get(gate + i, part), sg = sigmoid(g), d = get(dout + i, part), u = get(up + i, part);
    const V slope = Simd::mul(sg, Simd::fma(g, Simd::sub(Simd::set1(1), sg), Simd::set1(1)));
    put(dgate + i, Simd::mul(Simd::mul(d, u), slope), part);
    put(dup + i, Simd::mul(d, round_to<E>(Simd::mul(g, sg))), part);
  });
}

template <class E>
void rotate(E* dst, const E* src, const float* cos, const float* sin, int half, float turn) {
  sweep(half, [&](int64_t i, auto part) {
    const V c = round_to<E>(get(cos + i, part)), s = Simd::mul(Simd::set1(turn), round_to<E>(get(sin + i, part)));
    const V a = get(src + i, part), b = get(src + half + i, part);
    put(dst + i, Simd::sub(round_to<E>(Simd::mul(a, c)), round_to<E>(Simd::mul(b, s))), part);
    put(dst + half + i, Simd::add(round_to<E>(Simd::mul(b, c)), round_to<E>(Simd::mul(a, s))), part);
  });
}

// The bits of columns [i, i + lanes).
inline uint32_t bits_at(const uint32_t* bits, int64_t i) { return bits[i / 32] >> (i % 32); }

template <class D, class E>
void mask(D* dst, const E* src, const uint32_t* keep_bits, int first, int n) {
  sweep(n, [&](int64_t i, auto part) { put(dst + i, Simd::keep(get(src + i, part), bits_at(keep_bits, first + i)), part); });
}

template <class E>
void finish(E* y, int64_t ldy, const float* c, int64_t ldc, const float* bias, const float* lora, float scaling, int rows, int n) {
  const V scale = Simd::set1(scaling);
  sweep(n, [&](int64_t i, auto part) {
    const V plus = bias ? get(bias + i, part) : Simd::zero();
    for (int64_t r = 0; r < rows; ++r) {
      V v = get(c + r * ldc + i, part);
      if (bias) v = Simd::add(v, plus);
      if (lora) v = Simd::fma(scale, get(lora + r * ldc + i, part), round_to<E>(v));
      put(y + r * ldy + i, v, part);
    }
  });
}

template <class E>
float dot(const E* a, const E* b, int n) {
  V sum = Simd::zero();
  sweep(n, [&](int64_t i, auto part) { sum = Simd::fma(get(a + i, part), get(b + i, part), sum); });
  return Simd::sum(sum);
}

// ---- dropout ----

// Ten rounds on the counters c, in place; as philox().
inline void philox_rounds(Simd::I c[4], const steerlab::DropoutStream& stream) {
  const uint64_t key = stream.seed ^ (0x9E3779B97F4A7C15ull * (stream.step + 1ull));  // as dropout_words()
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
#pragma GCC unroll 10
  for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
    Simd::I high0, low0, high1, low1;
    Simd::multiply(c[0], 0xD2511F53u, high0, low0);
    Simd::multiply(c[2], 0xCD9E8D57u, high1, low1);
    c[0] = Simd::xor3(high1, c[1], Simd::words1(k0));
    c[2] = Simd::xor3(high0, c[3], Simd::words1(k1));
    c[1] = low1;
    c[3] = low0;
  }
}

constexpr int kDropoutBlock = 4 * L;  // columns per Philox call of all lanes

// kept[j]: bit i is set where column from + j * lanes + i of the token is kept.
inline void dropout_block(uint32_t kept[4], const steerlab::DropoutStream& stream, uint32_t example, uint32_t position, int from) {
  Simd::I c[4] = {Simd::quad_counters(static_cast<uint32_t>(from / 4)), Simd::words1(position), Simd::words1(example),
                  Simd::words1(stream.site)};
  philox_rounds(c, stream);
  Simd::in_column_order(c);
  for (int j = 0; j < 4; ++j) kept[j] = Simd::at_least(c[j], stream.threshold);
}

inline void dropout_bits(uint32_t* bits, const steerlab::DropoutStream& stream, uint32_t example, uint32_t position, int columns) {
  const int words = (columns + 31) / 32;
  for (int w = 0; w < words; ++w) bits[w] = 0;
  for (int from = 0; from < columns; from += kDropoutBlock) {
    uint32_t kept[4];
    dropout_block(kept, stream, example, position, from);
    for (int j = 0; j < 4; ++j) {
      const int column = from + j * L;
      if (column < columns) bits[column / 32] |= kept[j] << (column % 32);
    }
  }
}

inline void mask_add(float* c, const float* add, const uint32_t* keep_bits, int first, int n) {
  sweep(n, [&](int64_t i, auto part) {
    put(c + i, Simd::add(get(c + i, part), Simd::keep(get(add + i, part), bits_at(keep_bits, first + i))), part);
  });
}

// ---- f32 vectors ----

inline void axpy(float* y, const float* x, float a, int64_t n) {
  const V f = Simd::set1(a);
  sweep(n, [&](int64_t i, auto part) { put(y + i, Simd::fma(f, get(x + i, part), get(y + i, part)), part); });
}

inline void scale(float* y, float a, int64_t n) {
  const V f = Simd::set1(a);
  sweep(n, [&](int64_t i, auto part) { put(y + i, Simd::mul(f, get(y + i, part)), part); });
}

inline float largest(const float* x, int64_t n) {
  V top = Simd::set1(x[0]);
  int64_t i = 0;
  for (; i + L <= n; i += L) top = Simd::max(top, Simd::load(x + i));
  float best = Simd::largest(top);
  for (; i < n; ++i) best = x[i] > best ? x[i] : best;
  return best;
}

// Keeps the first n lanes of a Part; all of a Whole.
inline V only(V v, Whole) { return v; }
inline V only(V v, Part part) { return Simd::keep(v, (1u << part.n) - 1); }

inline double sum_exp(const float* x, float shift, int64_t n) {
  constexpr int64_t block = 1024;  // f32 sums no longer than this
  const V minus = Simd::set1(shift);
  double total = 0;
  for (int64_t from = 0; from < n; from += block) {
    V sum = Simd::zero();
    sweep(n - from < block ? n - from : block, [&](int64_t i, auto part) {
      sum = Simd::add(sum, only(exp_of(Simd::sub(get(x + from + i, part), minus)), part));
    });
    total += Simd::sum(sum);
  }
  return total;
}

inline void exps(float* y, const float* x, float shift, float factor, int64_t n) {
  const V minus = Simd::set1(shift), f = Simd::set1(factor);
  sweep(n, [&](int64_t i, auto part) { put(y + i, Simd::mul(f, exp_of(Simd::sub(get(x + i, part), minus))), part); });
}

inline double match(float* y, const float* l, const float* b, float l_shift, float b_shift, float shift, float factor, int64_t n) {
  constexpr int64_t block = 1024;  // f32 sums no longer than this
  const V l_minus = Simd::set1(l_shift), b_minus = Simd::set1(b_shift), plus = Simd::set1(shift), f = Simd::set1(factor);
  double total = 0;
  for (int64_t from = 0; from < n; from += block) {
    V sum = Simd::zero();
    sweep(n - from < block ? n - from : block, [&](int64_t i, auto part) {
      const V lv = get(l + from + i, part), bv = get(b + from + i, part), p = exp_of(Simd::sub(bv, b_minus));
      sum = Simd::add(sum, only(Simd::mul(p, Simd::add(Simd::sub(bv, lv), plus)), part));
      if (y) put(y + from + i, Simd::mul(f, Simd::sub(exp_of(Simd::sub(lv, l_minus)), p)), part);
    });
    total += Simd::sum(sum);
  }
  return total;
}

inline float softmax(float* s, int seen, int padded, float scale_by, float* top) {
  const V factor = Simd::set1(scale_by);
  *top = largest(s, seen) * scale_by;
  const V minus = Simd::set1(*top);
  V sum = Simd::zero();
  sweep(seen, [&](int64_t i, auto part) {
    const V e = only(exp_of(Simd::sub(Simd::mul(factor, get(s + i, part)), minus)), part);
    sum = Simd::add(sum, e);
    put(s + i, e, part);
  });
  for (int i = seen; i < padded; ++i) s[i] = 0;
  return Simd::sum(sum);
}

inline void softmax_backward(float* s, float* dp, int seen, int padded, float scale_by, float lse, float delta) {
  const V factor = Simd::set1(scale_by), minus = Simd::set1(lse), shift = Simd::set1(delta);
  sweep(seen, [&](int64_t i, auto part) {
    const V p = exp_of(Simd::sub(Simd::mul(factor, get(s + i, part)), minus));
    put(s + i, p, part);
    put(dp + i, Simd::mul(factor, Simd::mul(p, Simd::sub(get(dp + i, part), shift))), part);
  });
  for (int i = seen; i < padded; ++i) s[i] = dp[i] = 0;
}

// constants: clip, beta1, 1 - beta1, beta2, 1 - beta2, 1 - lr decay, lr / (1 - beta1^t), sqrt(1 - beta2^t), eps
inline void adamw(float* p, float* m, float* v, const float* g, int64_t n, const float* constants) {
  V k[9];
  for (int i = 0; i < 9; ++i) k[i] = Simd::set1(constants[i]);
  sweep(n, [&](int64_t i, auto part) {
    const V grad = Simd::mul(get(g + i, part), k[0]);
    const V mean = Simd::add(Simd::mul(get(m + i, part), k[1]), Simd::mul(grad, k[2]));
    const V square = Simd::add(Simd::mul(get(v + i, part), k[3]), Simd::mul(Simd::mul(grad, grad), k[4]));
    const V size = Simd::add(Simd::div(Simd::sqrt(square), k[7]), k[8]);
    put(m + i, mean, part);
    put(v + i, square, part);
    put(p + i, Simd::sub(Simd::mul(get(p + i, part), k[5]), Simd::div(Simd::mul(k[6], mean), size)), part);
  });
}

inline double squares(const float* x, int64_t n) {
  double total = 0;
  for (int64_t from = 0; from < n; from += 256) {
    V sum = Simd::zero();
    sweep(n - from < 256 ? n - from : 256, [&](int64_t i, auto part) {
      const V v = get(x + from + i, part);
      sum = Simd::fma(v, v, sum);
    });
    total += Simd::sum(sum);
  }
  return total;
}

template <class E>
steerlab::RowKernels<E> row_table() {
  return {widen<E>, narrow<E>, add<E>, steer<E>, norm<E>, norm_backward<E>, swiglu<E>, swiglu_backward<E>, rotate<E>,
          mask<float, E>, mask<E, E>, finish<E>, dot<E>};
}

inline steerlab::Kernels kernel_table(const char* isa) {
  return {isa, L, 2 * L, Simd::tile_rows, Simd::has_pair_dot, Simd::pair_block,
          pack_f32, pack_bf16, pack_pairs, copy_panel<float>, copy_panel<Bf16>, copy_pairs,
          gemm<ScalarStep>, gemm_group<ScalarStep>, gemm_group<PairStep>, nullptr, nullptr, nullptr, nullptr,
          row_table<float>(), row_table<Bf16>(),
          dropout_bits, mask_add, axpy, scale, largest, sum_exp, exps, match, softmax, softmax_backward, adamw, squares, peak};
}

}  // namespace
