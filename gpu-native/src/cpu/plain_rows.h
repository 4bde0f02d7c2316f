// Plain loops of the ops that work token by token: embedding, residual and norm, SwiGLU, RoPE, row copies.
#pragma once
#include "plain.h"

namespace steerlab {

template <class A>
void PlainBackend<A>::embed(const Embed& op) {
  count("embed");
  std::vector<double> row(static_cast<size_t>(op.table.in));
  for (int t = 0; t < op.n; ++t) {
    weight_row(op.table, op.tokens[t], row.data());
    for (int c = 0; c < op.table.in; ++c) acts(op.h)[static_cast<int64_t>(t) * op.table.in + c] = A::store(static_cast<Calc>(row[c]));
  }
}

template <class A>
void PlainBackend<A>::residual_norm(const ResidualNorm& op) {
  count("residual_norm");
  for (int t = 0; t < op.n; ++t) {
    Store* row = acts(op.h) + static_cast<int64_t>(t) * op.C;
    if (op.delta) {
      const Store* d = acts(op.delta) + static_cast<int64_t>(t) * op.C;
      for (int c = 0; c < op.C; ++c) row[c] = A::store(A::load(row[c]) + A::load(d[c]));
    }
    if (op.steer) {
      const int r = op.steer->token_row[t];
      for (int e = op.steer->row_offsets[r]; e < op.steer->row_offsets[r + 1]; ++e) {
        const SteerEntry& s = op.steer->entries[e];
        if (s.magnitude == 0 || op.layer < s.layer_start || op.layer >= s.layer_end || t < s.token_begin || t >= s.token_end) continue;
        const float* v = op.steer->vectors + static_cast<int64_t>(s.vector) * op.C;
        for (int c = 0; c < op.C; ++c)
          row[c] = A::store(A::load(row[c]) + rounded<A>(static_cast<Calc>(s.magnitude) * static_cast<Calc>(v[c])));
      }
    }
    if (!op.x) continue;
    double squares = 0;
    for (int c = 0; c < op.C; ++c) squares += static_cast<double>(A::load(row[c])) * A::load(row[c]);
    const Calc inverse = static_cast<Calc>(1 / std::sqrt(squares / op.C + op.eps));
    Store* out = acts(op.x) + static_cast<int64_t>(t) * op.C;
    for (int c = 0; c < op.C; ++c) out[c] = A::store(rounded<A>(A::load(row[c]) * inverse) * static_cast<Calc>(op.weight[c]));
  }
}

// With s = 1/sqrt(mean(h^2) + eps) and g = weight * dx:  dh += s g - h s^3 mean(g h).
template <class A>
void PlainBackend<A>::norm_backward(const NormBackward& op) {
  count("norm_backward");
  for (int t = 0; t < op.n; ++t) {
    const int64_t at = static_cast<int64_t>(t) * op.C;
    const Store *row = acts(op.h) + at, *g = acts(op.dx) + at;
    double squares = 0, along = 0;
    for (int c = 0; c < op.C; ++c) {
      const double v = A::load(row[c]);
      squares += v * v;
      along += v * A::load(g[c]) * op.weight[c];
    }
    const double s = 1 / std::sqrt(squares / op.C + op.eps), pull = s * s * s * along / op.C;
    Store* out = acts(op.dh) + at;
    for (int c = 0; c < op.C; ++c)
      out[c] = A::store(static_cast<Calc>(A::load(out[c]) + (s * op.weight[c] * A::load(g[c]) - pull * A::load(row[c]))));
  }
}

template <class A>
void PlainBackend<A>::swiglu(const Swiglu& op) {
  count("swiglu");
  for (int t = 0; t < op.n; ++t) {
    const Store *gate = acts(op.gu) + static_cast<int64_t>(t) * 2 * op.F, *up = gate + op.F;
    Store* row = acts(op.out) + static_cast<int64_t>(t) * op.F;
    for (int c = 0; c < op.F; ++c) {
      const Calc g = A::load(gate[c]);
      row[c] = A::store(rounded<A>(g / (1 + std::exp(-g))) * A::load(up[c]));
    }
  }
}

// With sg = sigmoid(gate):  dgate = dout * up * sg * (1 + gate * (1 - sg)),  dup = dout * gate * sg.
template <class A>
void PlainBackend<A>::swiglu_backward(const SwigluBackward& op) {
  count("swiglu_backward");
  for (int t = 0; t < op.n; ++t) {
    const Store *gate = acts(op.gu) + static_cast<int64_t>(t) * 2 * op.F, *up = gate + op.F;
    const Store* d = acts(op.dout) + static_cast<int64_t>(t) * op.F;
    Store *dgate = acts(op.dgu) + static_cast<int64_t>(t) * 2 * op.F, *dup = dgate + op.F;
    for (int c = 0; c < op.F; ++c) {
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
void PlainBackend<A>::rope_store(const RopeStore& op) {
  const HeadShape s = op.heads;
  count("rope_store");
  const int half = s.D / 2, kv_width = s.KVH * s.D, width = s.H * s.D + 2 * kv_width;
  for (int t = 0; t < op.n; ++t) {
    Store *q = acts(op.qkv) + static_cast<int64_t>(t) * width, *k = q + s.H * s.D, *v = k + kv_width;
    const int64_t angle = static_cast<int64_t>(op.positions[t]) * half, to = static_cast<int64_t>(op.slot ? op.slot[t] : t) * kv_width;
    for (int head = 0; head < s.H; ++head) rotate_head<A>(q + head * s.D, q + head * s.D, op.cos + angle, op.sin + angle, half, 1);
    for (int head = 0; head < s.KVH; ++head)
      rotate_head<A>(k + head * s.D, acts(op.k_new) + to + head * s.D, op.cos + angle, op.sin + angle, half, 1);
    std::copy(v, v + kv_width, acts(op.v_new) + to);
  }
}

template <class A>
void PlainBackend<A>::rope_backward(const RopeBackward& op) {
  const HeadShape s = op.heads;
  count("rope_backward");
  const int half = s.D / 2, width = (s.H + 2 * s.KVH) * s.D;
  for (int t = 0; t < op.n; ++t) {
    Store* row = acts(op.dqkv) + static_cast<int64_t>(t) * width;
    const int64_t angle = static_cast<int64_t>(op.positions[t]) * half;
    for (int head = 0; head < s.H + s.KVH; ++head)
      rotate_head<A>(row + head * s.D, row + head * s.D, op.cos + angle, op.sin + angle, half, -1);
  }
}

template <class A>
void PlainBackend<A>::gather_rows(const GatherRows& op) {
  count("gather_rows");
  for (int i = 0; i < op.n; ++i)
    std::memcpy(acts(op.dst) + static_cast<int64_t>(i) * op.width, acts(op.src) + static_cast<int64_t>(op.index[i]) * op.width,
                sizeof(Store) * static_cast<size_t>(op.width));
}

template <class A>
void PlainBackend<A>::scatter_add_rows(const ScatterAddRows& op) {
  count("scatter_add_rows");
  for (int i = 0; i < op.n; ++i) {
    Store* to = acts(op.dst) + static_cast<int64_t>(op.index[i]) * op.width;
    const Store* from = acts(op.src) + static_cast<int64_t>(i) * op.width;
    for (int c = 0; c < op.width; ++c) to[c] = A::store(A::load(to[c]) + A::load(from[c]));
  }
}

template <class A>
void PlainBackend<A>::to_f32(const ToF32& op) {
  count("to_f32");
  for (size_t i = 0; i < op.count; ++i) op.dst[i] = static_cast<float>(A::load(acts(op.src)[i]));
}

template <class A>
void PlainBackend<A>::add(const Add& op) {
  count("add");
  for (size_t i = 0; i < op.count; ++i) acts(op.a)[i] = A::store(A::load(acts(op.a)[i]) + A::load(acts(op.b)[i]));
}

}  // namespace steerlab
