// Plain loops of the ops that work token by token: embedding, residual and norm, SwiGLU, RoPE, row copies.
#pragma once
#include "plain.h"

namespace steerlab {

template <class A>
void PlainBackend<A>::embed(void* h, const Weight& table, const int32_t* tokens, int n) {
  count("embed");
  std::vector<double> row(static_cast<size_t>(table.in));
  for (int t = 0; t < n; ++t) {
    weight_row(table, tokens[t], row.data());
    for (int c = 0; c < table.in; ++c) acts(h)[static_cast<int64_t>(t) * table.in + c] = A::store(static_cast<Calc>(row[c]));
  }
}

template <class A>
void PlainBackend<A>::residual_norm(void* h, const void* delta, const SteerTable* steer, int layer, void* x, const float* weight,
                                    float eps, int n, int C) {
  count("residual_norm");
  for (int t = 0; t < n; ++t) {
    Store* row = acts(h) + static_cast<int64_t>(t) * C;
    if (delta) {
      const Store* d = acts(delta) + static_cast<int64_t>(t) * C;
      for (int c = 0; c < C; ++c) row[c] = A::store(A::load(row[c]) + A::load(d[c]));
    }
    if (steer) {
      const int r = steer->token_row[t];
      for (int e = steer->row_offsets[r]; e < steer->row_offsets[r + 1]; ++e) {
        const SteerEntry& s = steer->entries[e];
        if (s.magnitude == 0 || layer < s.layer_start || layer >= s.layer_end || t < s.token_begin || t >= s.token_end) continue;
        const float* v = steer->vectors + static_cast<int64_t>(s.vector) * C;
        for (int c = 0; c < C; ++c)
          row[c] = A::store(A::load(row[c]) + rounded<A>(static_cast<Calc>(s.magnitude) * static_cast<Calc>(v[c])));
      }
    }
    if (!x) continue;
    double squares = 0;
    for (int c = 0; c < C; ++c) squares += static_cast<double>(A::load(row[c])) * A::load(row[c]);
    const Calc inverse = static_cast<Calc>(1 / std::sqrt(squares / C + eps));
    Store* out = acts(x) + static_cast<int64_t>(t) * C;
    for (int c = 0; c < C; ++c) out[c] = A::store(rounded<A>(A::load(row[c]) * inverse) * static_cast<Calc>(weight[c]));
  }
}

// With s = 1/sqrt(mean(h^2) + eps) and g = weight * dx:  dh += s g - h s^3 mean(g h).
template <class A>
void PlainBackend<A>::norm_backward(void* dh, const void* dx, const void* h, const float* weight, float eps, int n, int C) {
  count("norm_backward");
  for (int t = 0; t < n; ++t) {
    const int64_t at = static_cast<int64_t>(t) * C;
    const Store *row = acts(h) + at, *g = acts(dx) + at;
    double squares = 0, along = 0;
    for (int c = 0; c < C; ++c) {
      const double v = A::load(row[c]);
      squares += v * v;
      along += v * A::load(g[c]) * weight[c];
    }
    const double s = 1 / std::sqrt(squares / C + eps), pull = s * s * s * along / C;
    Store* out = acts(dh) + at;
    for (int c = 0; c < C; ++c)
      out[c] = A::store(static_cast<Calc>(A::load(out[c]) + (s * weight[c] * A::load(g[c]) - pull * A::load(row[c]))));
  }
}

template <class A>
void PlainBackend<A>::swiglu(void* out, const void* gu, int n, int F) {
  count("swiglu");
  for (int t = 0; t < n; ++t) {
    const Store *gate = acts(gu) + static_cast<int64_t>(t) * 2 * F, *up = gate + F;
    Store* row = acts(out) + static_cast<int64_t>(t) * F;
    for (int c = 0; c < F; ++c) {
      const Calc g = A::load(gate[c]);
      row[c] = A::store(rounded<A>(g / (1 + std::exp(-g))) * A::load(up[c]));
    }
  }
}

// With sg = sigmoid(gate):  dgate = dout * up * sg * (1 + gate * (1 - sg)),  dup = dout * gate * sg.
template <class A>
void PlainBackend<A>::swiglu_backward(void* dgu, const void* dout, const void* gu, int n, int F) {
  count("swiglu_backward");
  for (int t = 0; t < n; ++t) {
    const Store *gate = acts(gu) + static_cast<int64_t>(t) * 2 * F, *up = gate + F;
    const Store* d = acts(dout) + static_cast<int64_t>(t) * F;
    Store *dgate = acts(dgu) + static_cast<int64_t>(t) * 2 * F, *dup = dgate + F;
    for (int c = 0; c < F; ++c) {
      const Calc g = A::load(gate[c]), sg = 1 / (1 + std::exp(-g)), dy = A::load(d[c]), u = A::load(up[c]);
      dgate[c] = A::store(dy * u * sg * (1 + g * (1 - sg)));
      dup[c] = A::store(dy * rounded<A>(g * sg));
    }
  }
}

// (a, b) -> (a cos - b sin, b cos + a sin) on the halves of one head; `turn` -1 turns back. BF16 rounds cos, sin, each
// product and the sum, as transformers' elementwise code does.
template <class A>
void rotate_head(const typename A::Store* in, typename A::Store* out, const float* cos, const float* sin, int half,
                 typename A::Calc turn) {
  using Calc = typename A::Calc;
  for (int i = 0; i < half; ++i) {
    const Calc c = rounded<A>(cos[i]), s = turn * rounded<A>(sin[i]), a = A::load(in[i]), b = A::load(in[half + i]);
    out[i] = A::store(rounded<A>(a * c) - rounded<A>(b * s));
    out[half + i] = A::store(rounded<A>(b * c) + rounded<A>(a * s));
  }
}

template <class A>
void PlainBackend<A>::rope_store(void* qkv, void* k_new, void* v_new, const float* cos, const float* sin,
                                 const int32_t* positions, const int32_t* slot, int n, HeadShape s) {
  count("rope_store");
  const int half = s.D / 2, kv_width = s.KVH * s.D, width = s.H * s.D + 2 * kv_width;
  for (int t = 0; t < n; ++t) {
    Store *q = acts(qkv) + static_cast<int64_t>(t) * width, *k = q + s.H * s.D, *v = k + kv_width;
    const int64_t angle = static_cast<int64_t>(positions[t]) * half, to = static_cast<int64_t>(slot ? slot[t] : t) * kv_width;
    for (int head = 0; head < s.H; ++head) rotate_head<A>(q + head * s.D, q + head * s.D, cos + angle, sin + angle, half, 1);
    for (int head = 0; head < s.KVH; ++head)
      rotate_head<A>(k + head * s.D, acts(k_new) + to + head * s.D, cos + angle, sin + angle, half, 1);
    std::copy(v, v + kv_width, acts(v_new) + to);
  }
}

template <class A>
void PlainBackend<A>::rope_backward(void* dqkv, const float* cos, const float* sin, const int32_t* positions, int n,
                                    HeadShape s) {
  count("rope_backward");
  const int half = s.D / 2, width = (s.H + 2 * s.KVH) * s.D;
  for (int t = 0; t < n; ++t) {
    Store* row = acts(dqkv) + static_cast<int64_t>(t) * width;
    const int64_t angle = static_cast<int64_t>(positions[t]) * half;
    for (int head = 0; head < s.H + s.KVH; ++head)
      rotate_head<A>(row + head * s.D, row + head * s.D, cos + angle, sin + angle, half, -1);
  }
}

template <class A>
void PlainBackend<A>::gather_rows(void* dst, const void* src, const int32_t* index, int n, int width) {
  count("gather_rows");
  for (int i = 0; i < n; ++i)
    std::memcpy(acts(dst) + static_cast<int64_t>(i) * width, acts(src) + static_cast<int64_t>(index[i]) * width,
                sizeof(Store) * static_cast<size_t>(width));
}

template <class A>
void PlainBackend<A>::scatter_add_rows(void* dst, const void* src, const int32_t* index, int n, int width) {
  count("scatter_add_rows");
  for (int i = 0; i < n; ++i) {
    Store* to = acts(dst) + static_cast<int64_t>(index[i]) * width;
    const Store* from = acts(src) + static_cast<int64_t>(i) * width;
    for (int c = 0; c < width; ++c) to[c] = A::store(A::load(to[c]) + A::load(from[c]));
  }
}

template <class A>
void PlainBackend<A>::to_f32(float* dst, const void* src, size_t count_) {
  count("to_f32");
  for (size_t i = 0; i < count_; ++i) dst[i] = static_cast<float>(A::load(acts(src)[i]));
}

template <class A>
void PlainBackend<A>::add(void* a, const void* b, size_t count_) {
  count("add");
  for (size_t i = 0; i < count_; ++i) acts(a)[i] = A::store(A::load(acts(a)[i]) + A::load(acts(b)[i]));
}

}  // namespace steerlab
