// Plain loops of the projections: y = x W^T + bias + LoRA, its backward, and the head.
#pragma once
#include "plain.h"

namespace steerlab {

template <class A>
void PlainBackend<A>::linear(const Linear& op) {
  count("linear");
  const int in = op.parts.count ? op.parts[0].w->in : 0;
  std::vector<double> wide(static_cast<size_t>(op.n) * in);  // x as double, read once
  for (size_t i = 0; i < wide.size(); ++i) wide[i] = A::load(acts(op.x)[i]);

  for (int p = 0; p < op.parts.count; ++p) {
    const LinearPart& part = op.parts[p];
    Store* out = acts(op.y) + part.y_col;
    // base: one weight row at a time, so that it is widened once
    pool().run(part.w->out, [&](int64_t o, int) {
      std::vector<double> row(static_cast<size_t>(in));
      weight_row(*part.w, o, row.data());
      for (int t = 0; t < op.n; ++t) {
        double sum = 0;
        for (int k = 0; k < in; ++k) sum += wide[static_cast<size_t>(t) * in + k] * row[k];
        if (part.w->bias) sum += part.w->bias[o];
        out[static_cast<int64_t>(t) * op.ldy + o] = A::store(static_cast<Calc>(sum));
      }
    });
    for (int l = 0; l < part.lora.count; ++l) {
      const LoraUse& use = part.lora[l];
      const Master *a = masters(use.a), *b = masters(use.b), *bias = masters(use.bias);
      for (int t = use.begin; t < use.end; ++t) {
        Master* u = masters(use.u) + static_cast<int64_t>(t - use.begin) * use.r;
        std::vector<double> dropped(wide.begin() + static_cast<int64_t>(t) * in, wide.begin() + static_cast<int64_t>(t + 1) * in);
        if (use.dropout > 0)
          for (int k = 0; k < in; ++k) dropped[k] *= dropout_factor(*op.dropout, part.site, use.dropout, t, k);
        for (int j = 0; j < use.r; ++j) {
          double sum = 0;
          for (int k = 0; k < in; ++k) sum += dropped[k] * a[static_cast<int64_t>(j) * in + k];
          u[j] = static_cast<Master>(sum);
        }
        for (int o = 0; o < part.w->out; ++o) {
          double sum = bias ? static_cast<double>(bias[o]) : 0;
          for (int j = 0; j < use.r; ++j) sum += static_cast<double>(u[j]) * b[static_cast<int64_t>(o) * use.r + j];
          Store& v = out[static_cast<int64_t>(t) * op.ldy + o];
          v = A::store(static_cast<Calc>(A::load(v) + use.scaling * sum));
        }
      }
    }
  }
}

// dB += scaling dy^T u; du = scaling dy B; dA += du^T dropout(x); dx = sum over parts of dy W + dropout'(du A).
template <class A>
void PlainBackend<A>::linear_backward(const LinearBackward& op) {
  count("linear_backward");
  const int in = op.parts.count ? op.parts[0].w->in : 0;
  std::vector<double> sums(op.dx ? static_cast<size_t>(op.n) * in : 0), row(static_cast<size_t>(in));
  for (int p = 0; p < op.parts.count; ++p) {
    const LinearPart& part = op.parts[p];
    const Store* d = acts(op.dy) + part.y_col;
    const int out = part.w->out;
    if (op.dx)
      for (int o = 0; o < out; ++o) {
        weight_row(*part.w, o, row.data());
        for (int t = 0; t < op.n; ++t) {
          const double g = A::load(d[static_cast<int64_t>(t) * op.ldy + o]);
          for (int k = 0; k < in; ++k) sums[static_cast<size_t>(t) * in + k] += g * row[k];
        }
      }
    if (!part.lora.count) continue;
    const LoraUse& use = part.lora[0];
    const Master *a = masters(use.a), *b = masters(use.b), *u = masters(use.u);
    std::vector<double> du(static_cast<size_t>(op.n) * use.r), factor(static_cast<size_t>(in), 1.0);
    for (int t = 0; t < op.n; ++t)
      for (int j = 0; j < use.r; ++j) {
        double sum = 0;
        for (int o = 0; o < out; ++o)
          sum += static_cast<double>(A::load(d[static_cast<int64_t>(t) * op.ldy + o])) * b[static_cast<int64_t>(o) * use.r + j];
        du[static_cast<size_t>(t) * use.r + j] = use.scaling * sum;
      }
    for (int e = 0; e < op.examples; ++e) {
      std::vector<double> da(static_cast<size_t>(use.r) * in), db(static_cast<size_t>(out) * use.r);
      for (int t = op.example_offsets[e]; t < op.example_offsets[e + 1]; ++t) {
        for (int o = 0; o < out; ++o)
          for (int j = 0; j < use.r; ++j)
            db[static_cast<size_t>(o) * use.r + j] +=
                use.scaling * A::load(d[static_cast<int64_t>(t) * op.ldy + o]) * static_cast<double>(u[static_cast<int64_t>(t) * use.r + j]);
        for (int k = 0; k < in; ++k) {
          if (use.dropout > 0) factor[k] = dropout_factor(*op.dropout, part.site, use.dropout, t, k);
          const double xk = A::load(acts(op.x)[static_cast<int64_t>(t) * in + k]) * factor[k];
          for (int j = 0; j < use.r; ++j) {
            const double g = du[static_cast<size_t>(t) * use.r + j];
            da[static_cast<size_t>(j) * in + k] += g * xk;
            if (op.dx) sums[static_cast<size_t>(t) * in + k] += factor[k] * g * a[static_cast<int64_t>(j) * in + k];
          }
        }
      }
      if (op.grads[p].a)
        for (size_t i = 0; i < da.size(); ++i) masters(op.grads[p].a)[i] += static_cast<Master>(da[i]);
      if (op.grads[p].b)
        for (size_t i = 0; i < db.size(); ++i) masters(op.grads[p].b)[i] += static_cast<Master>(db[i]);
    }
  }
  for (size_t i = 0; i < sums.size(); ++i) acts(op.dx)[i] = A::store(static_cast<Calc>(sums[i]));
}

template <class A>
void PlainBackend<A>::logits(const Logits& op) {
  count("logits");
  pool().run_ranges(op.head.out, 256, [&](int64_t begin, int64_t end, int) {
    std::vector<double> row(static_cast<size_t>(op.head.in));
    for (int64_t o = begin; o < end; ++o) {
      weight_row(op.head, o, row.data());
      for (int t = 0; t < op.n; ++t) {
        double sum = 0;
        for (int k = 0; k < op.head.in; ++k) sum += A::load(acts(op.x)[static_cast<int64_t>(t) * op.head.in + k]) * row[k];
        masters(op.logits)[static_cast<int64_t>(t) * op.head.out + o] = static_cast<Master>(sum);
      }
    }
  });
}

template <class A>
void PlainBackend<A>::logits_backward(const LogitsBackward& op) {
  count("logits_backward");
  std::vector<double> row(static_cast<size_t>(op.head.in)), sums(static_cast<size_t>(op.n) * op.head.in);
  auto add_row = [&](int t, int64_t o) {
    const double g = masters(op.dlogits)[static_cast<int64_t>(t) * op.head.out + o];
    for (int k = 0; k < op.head.in; ++k) sums[static_cast<size_t>(t) * op.head.in + k] += g * row[k];
  };
  if (op.labels) {
    for (int t = 0; t < op.n; ++t)
      for (int j = 0; j < (op.labels[2 * t] == op.labels[2 * t + 1] ? 1 : 2); ++j) {
        weight_row(op.head, op.labels[2 * t + j], row.data());
        add_row(t, op.labels[2 * t + j]);
      }
  } else {
    for (int64_t o = 0; o < op.head.out; ++o) {
      weight_row(op.head, o, row.data());
      for (int t = 0; t < op.n; ++t) add_row(t, o);
    }
  }
  for (size_t i = 0; i < sums.size(); ++i) acts(op.dx)[i] = A::store(static_cast<Calc>(sums[i]));
}

}  // namespace steerlab
