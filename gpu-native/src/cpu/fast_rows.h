// Token-by-token ops on the vector engine; the arithmetic is in row_kernels.h, the meaning in plain_rows.h.
#pragma once
#include "fast.h"

namespace steerlab {

// Rows a task takes: about 16 Ki elements.
inline int64_t rows_per_task(int width) { return std::max(1, 16384 / std::max(width, 1)); }

template <class A>
void FastBackend<A>::embed(const Embed& op) {
  ran("embed");
  const int C = op.table.in;
  pool().run_ranges(op.n, rows_per_task(C), [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      E* row = acts(op.h) + t * C;
      const int64_t at = static_cast<int64_t>(op.tokens[t]) * C;
      if constexpr (sizeof(E) == 2) std::memcpy(row, static_cast<const Bf16*>(op.table.data) + at, sizeof(E) * static_cast<size_t>(C));
      else if (op.table.type == DType::BF16) k_.bf16.widen(row, static_cast<const Bf16*>(op.table.data) + at, C);
      else std::memcpy(row, static_cast<const float*>(op.table.data) + at, sizeof(E) * static_cast<size_t>(C));
    }
  });
}

template <class A>
void FastBackend<A>::residual_norm(const ResidualNorm& op) {
  ran("residual_norm");
  pool().run_ranges(op.n, rows_per_task(op.C), [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      E* row = acts(op.h) + t * op.C;
      if (op.delta) e_.add(row, acts(op.delta) + t * op.C, op.C);
      if (op.steer) {
        const int r = op.steer->token_row[t];
        for (int i = op.steer->row_offsets[r]; i < op.steer->row_offsets[r + 1]; ++i) {
          const SteerEntry& s = op.steer->entries[i];
          if (s.magnitude == 0 || op.layer < s.layer_start || op.layer >= s.layer_end || t < s.token_begin || t >= s.token_end) continue;
          e_.steer(row, op.steer->vectors + static_cast<int64_t>(s.vector) * op.C, s.magnitude, op.C);
        }
      }
      if (op.x) e_.norm(acts(op.x) + t * op.C, row, op.weight, op.eps, op.C);
    }
  });
}

template <class A>
void FastBackend<A>::norm_backward(const NormBackward& op) {
  ran("norm_backward");
  pool().run_ranges(op.n, rows_per_task(op.C), [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) e_.norm_backward(acts(op.dh) + t * op.C, acts(op.dx) + t * op.C, acts(op.h) + t * op.C, op.weight, op.eps, op.C);
  });
}

template <class A>
void FastBackend<A>::swiglu(const Swiglu& op) {
  ran("swiglu");
  pool().run_ranges(op.n, rows_per_task(2 * op.F), [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) e_.swiglu(acts(op.out) + t * op.F, acts(op.gu) + t * 2 * op.F, acts(op.gu) + t * 2 * op.F + op.F, op.F);
  });
}

template <class A>
void FastBackend<A>::swiglu_backward(const SwigluBackward& op) {
  ran("swiglu_backward");
  pool().run_ranges(op.n, rows_per_task(3 * op.F), [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      const E* gate = acts(op.gu) + t * 2 * op.F;
      E* dgate = acts(op.dgu) + t * 2 * op.F;
      e_.swiglu_backward(dgate, dgate + op.F, acts(op.dout) + t * op.F, gate, gate + op.F, op.F);
    }
  });
}

template <class A>
void FastBackend<A>::rope_store(const RopeStore& op) {
  const HeadShape s = op.heads;
  ran("rope_store");
  const int half = s.D / 2, kv_width = s.KVH * s.D, width = s.H * s.D + 2 * kv_width;
  pool().run_ranges(op.n, rows_per_task(width), [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      E *q = acts(op.qkv) + t * width, *k = q + s.H * s.D, *v = k + kv_width;
      const int64_t angle = static_cast<int64_t>(op.positions[t]) * half, to = (op.slot ? op.slot[t] : t) * static_cast<int64_t>(kv_width);
      for (int head = 0; head < s.H; ++head) e_.rotate(q + head * s.D, q + head * s.D, op.cos + angle, op.sin + angle, half, 1);
      for (int head = 0; head < s.KVH; ++head)
        e_.rotate(acts(op.k_new) + to + head * s.D, k + head * s.D, op.cos + angle, op.sin + angle, half, 1);
      std::memcpy(acts(op.v_new) + to, v, sizeof(E) * static_cast<size_t>(kv_width));
    }
  });
}

template <class A>
void FastBackend<A>::rope_backward(const RopeBackward& op) {
  const HeadShape s = op.heads;
  ran("rope_backward");
  const int half = s.D / 2, width = (s.H + 2 * s.KVH) * s.D;
  pool().run_ranges(op.n, rows_per_task(width), [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t angle = static_cast<int64_t>(op.positions[t]) * half;
      for (int head = 0; head < s.H + s.KVH; ++head) {
        E* at = acts(op.dqkv) + t * width + head * s.D;
        e_.rotate(at, at, op.cos + angle, op.sin + angle, half, -1);
      }
    }
  });
}

template <class A>
void FastBackend<A>::gather_rows(const GatherRows& op) {  // copies: nothing to gain
  PlainBackend<A>::gather_rows(op);
}

template <class A>
void FastBackend<A>::scatter_add_rows(const ScatterAddRows& op) {
  ran("scatter_add_rows");
  for (int i = 0; i < op.n; ++i) e_.add(acts(op.dst) + static_cast<int64_t>(op.index[i]) * op.width, acts(op.src) + static_cast<int64_t>(i) * op.width, op.width);
}

template <class A>
void FastBackend<A>::to_f32(const ToF32& op) {
  ran("to_f32");
  e_.widen(op.dst, acts(op.src), static_cast<int64_t>(op.count));
}

template <class A>
void FastBackend<A>::add(const Add& op) {
  ran("add");
  pool().run_ranges(static_cast<int64_t>(op.count), 1 << 15,
                    [&](int64_t begin, int64_t end, int) { e_.add(acts(op.a) + begin, acts(op.b) + begin, end - begin); });
}

}  // namespace steerlab
