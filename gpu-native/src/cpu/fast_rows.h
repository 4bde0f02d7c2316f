// Token-by-token ops on the vector engine; the arithmetic is in row_kernels.h, the meaning in plain_rows.h.
#pragma once
#include "fast.h"

namespace steerlab {

// Rows a task takes: about 16 Ki elements.
inline int64_t rows_per_task(int width) { return std::max(1, 16384 / std::max(width, 1)); }

template <class A>
void FastBackend<A>::embed(void* h, const Weight& table, const int32_t* tokens, int n) {
  ran("embed");
  const int C = table.in;
  pool().run_ranges(n, rows_per_task(C), [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      E* row = acts(h) + t * C;
      const int64_t at = static_cast<int64_t>(tokens[t]) * C;
      if constexpr (sizeof(E) == 2) std::memcpy(row, static_cast<const Bf16*>(table.data) + at, sizeof(E) * static_cast<size_t>(C));
      else if (table.type == DType::BF16) k_.bf16.widen(row, static_cast<const Bf16*>(table.data) + at, C);
      else std::memcpy(row, static_cast<const float*>(table.data) + at, sizeof(E) * static_cast<size_t>(C));
    }
  });
}

template <class A>
void FastBackend<A>::residual_norm(void* h, const void* delta, const SteerTable* steer, int layer, void* x, const float* weight,
                                   float eps, int n, int C) {
  ran("residual_norm");
  pool().run_ranges(n, rows_per_task(C), [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      E* row = acts(h) + t * C;
      if (delta) e_.add(row, acts(delta) + t * C, C);
      if (steer) {
        const int r = steer->token_row[t];
        for (int i = steer->row_offsets[r]; i < steer->row_offsets[r + 1]; ++i) {
          const SteerEntry& s = steer->entries[i];
          if (s.magnitude == 0 || layer < s.layer_start || layer >= s.layer_end || t < s.token_begin || t >= s.token_end) continue;
          e_.steer(row, steer->vectors + static_cast<int64_t>(s.vector) * C, s.magnitude, C);
        }
      }
      if (x) e_.norm(acts(x) + t * C, row, weight, eps, C);
    }
  });
}

template <class A>
void FastBackend<A>::norm_backward(void* dh, const void* dx, const void* h, const float* weight, float eps, int n, int C) {
  ran("norm_backward");
  pool().run_ranges(n, rows_per_task(C), [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) e_.norm_backward(acts(dh) + t * C, acts(dx) + t * C, acts(h) + t * C, weight, eps, C);
  });
}

template <class A>
void FastBackend<A>::swiglu(void* out, const void* gu, int n, int F) {
  ran("swiglu");
  pool().run_ranges(n, rows_per_task(2 * F), [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) e_.swiglu(acts(out) + t * F, acts(gu) + t * 2 * F, acts(gu) + t * 2 * F + F, F);
  });
}

template <class A>
void FastBackend<A>::swiglu_backward(void* dgu, const void* dout, const void* gu, int n, int F) {
  ran("swiglu_backward");
  pool().run_ranges(n, rows_per_task(3 * F), [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      const E* gate = acts(gu) + t * 2 * F;
      E* dgate = acts(dgu) + t * 2 * F;
      e_.swiglu_backward(dgate, dgate + F, acts(dout) + t * F, gate, gate + F, F);
    }
  });
}

template <class A>
void FastBackend<A>::rope_store(void* qkv, void* k_new, void* v_new, const float* cos, const float* sin,
                                const int32_t* positions, const int32_t* slot, int n, HeadShape s) {
  ran("rope_store");
  const int half = s.D / 2, kv_width = s.KVH * s.D, width = s.H * s.D + 2 * kv_width;
  pool().run_ranges(n, rows_per_task(width), [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      E *q = acts(qkv) + t * width, *k = q + s.H * s.D, *v = k + kv_width;
      const int64_t angle = static_cast<int64_t>(positions[t]) * half, to = (slot ? slot[t] : t) * static_cast<int64_t>(kv_width);
      for (int head = 0; head < s.H; ++head) e_.rotate(q + head * s.D, q + head * s.D, cos + angle, sin + angle, half, 1);
      for (int head = 0; head < s.KVH; ++head)
        e_.rotate(acts(k_new) + to + head * s.D, k + head * s.D, cos + angle, sin + angle, half, 1);
      std::memcpy(acts(v_new) + to, v, sizeof(E) * static_cast<size_t>(kv_width));
    }
  });
}

template <class A>
void FastBackend<A>::rope_backward(void* dqkv, const float* cos, const float* sin, const int32_t* positions, int n,
                                   HeadShape s) {
  ran("rope_backward");
  const int half = s.D / 2, width = (s.H + 2 * s.KVH) * s.D;
  pool().run_ranges(n, rows_per_task(width), [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t angle = static_cast<int64_t>(positions[t]) * half;
      for (int head = 0; head < s.H + s.KVH; ++head) {
        E* at = acts(dqkv) + t * width + head * s.D;
        e_.rotate(at, at, cos + angle, sin + angle, half, -1);
      }
    }
  });
}

template <class A>
void FastBackend<A>::scatter_add_rows(void* dst, const void* src, const int32_t* index, int n, int width) {
  ran("scatter_add_rows");
  for (int i = 0; i < n; ++i) e_.add(acts(dst) + static_cast<int64_t>(index[i]) * width, acts(src) + static_cast<int64_t>(i) * width, width);
}

template <class A>
void FastBackend<A>::to_f32(float* dst, const void* src, size_t count) {
  ran("to_f32");
  e_.widen(dst, acts(src), static_cast<int64_t>(count));
}

template <class A>
void FastBackend<A>::add(void* a, const void* b, size_t count) {
  ran("add");
  pool().run_ranges(static_cast<int64_t>(count), 1 << 15,
                    [&](int64_t begin, int64_t end, int) { e_.add(acts(a) + begin, acts(b) + begin, end - begin); });
}

}  // namespace steerlab
