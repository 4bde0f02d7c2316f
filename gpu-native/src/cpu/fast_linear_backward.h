// Backward of the projections on the vector engine; mirrors fast_linear.h.
//
// Phase 1, per part and block of rows: copy dy where it cannot be multiplied as it lies; du = scaling / (1 - p) * dy B; replay the
// dropout bits.
// Phase 2, independent tasks: column groups of dx = sum over parts of dy W + keep(du A); panels of dA; panels of dB. A reduction over tokens
// runs example by example into a partial sum that is then added to the gradient.
#pragma once
#include "fast_linear.h"

namespace steerlab {

template <class A>
struct FastBackend<A>::Backward {
  FastBackend& b;
  const LinearBackward& op;
  const Kernels& k = b.k_;
  E* dx = acts(op.dx);
  const E *dy = acts(op.dy), *x = acts(op.x);
  int ldy = op.ldy, n = op.n, in = op.parts[0].w->in;
  HostSpan<const LinearPart> parts = op.parts;
  int T = k.tile_rows, tiles = (n + T - 1) / T, bit_words = in / 32 + 1;

  // Where the pieces of one part lie in d_copy_ (words).
  struct Place {
    int64_t dy;      // copy of dy: what W multiplies
    int64_t dy_own;  // copy of dy as it is: what B multiplies; the same where the form is
    int64_t du;      // du (n, r): what A multiplies
    int64_t du_out;  // du^T (r, n): what dropout(x) multiplies in dA
    int64_t u_out;   // scaling * u^T (r, n): what dy multiplies in dB
    int64_t bits;    // dropout bits of every token, in bits_
  };
  Form f = b.form_of(op.parts);  // of dy against W
  std::vector<Place> places{};
  uint32_t* words = nullptr;
  uint32_t* bits = nullptr;

  const LoraUse* lora(int p) const { return parts[p].lora.count ? &parts[p].lora[0] : nullptr; }
  float* floats(int64_t at) const { return reinterpret_cast<float*>(words + at); }
  const E* dy_of(int p) const { return dy + parts[p].y_col; }
  Left left_of(Form form, int p, int64_t copy) const { return b.left_of(form, dy_of(p), ldy, parts[p].w->out, words + copy); }

  void lay_out() {
    int64_t at = 0, bit_at = 0;
    const auto copy_in = [&](Form form, int p) {
      const int64_t begin = at;
      if (!b.in_place(form, dy_of(p), ldy, parts[p].w->out)) at += b.copied_words(form, n, parts[p].w->out);
      return begin;
    };
    for (int p = 0; p < parts.count; ++p) {
      Place place{};
      place.dy = place.dy_own = copy_in(f, p);
      if (lora(p) && !(f == b.own_form())) place.dy_own = copy_in(b.own_form(), p);
      if (const LoraUse* use = lora(p)) {
        for (int64_t* matrix : {&place.du, &place.du_out, &place.u_out}) {
          *matrix = at;
          at += static_cast<int64_t>(n) * use->r;
        }
        place.bits = bit_at;
        if (use->dropout > 0) bit_at += static_cast<int64_t>(n) * bit_words;
      }
      places.push_back(place);
    }
    words = b.d_copy_.template get<uint32_t>(static_cast<size_t>(at));
    bits = b.bits_.template get<uint32_t>(static_cast<size_t>(bit_at));
  }

  void prepare(Worker& w, int p, int first_tile, int count) {
    const LinearPart& part = parts[p];
    const Place& place = places[static_cast<size_t>(p)];
    const int out = part.w->out, from = first_tile * T, to = std::min((first_tile + count) * T, n);
    b.copy_rows(f, dy_of(p), ldy, out, from, to, words + place.dy);
    const LoraUse* use = lora(p);
    if (!use) return;
    const Form own = b.own_form();
    if (place.dy_own != place.dy) b.copy_rows(own, dy_of(p), ldy, out, from, to, words + place.dy_own);
    const Left left = left_of(own, p, place.dy_own);

    const int r = use->r, thin = b.thin_columns(), G = b.group();
    float *du = floats(place.du), *du_out = floats(place.du_out), *u_out = floats(place.u_out);
    float* c = w.thin_c.template get<float>(static_cast<size_t>(to - from) * G);
    uint32_t* panel = w.thin_panel.template get<uint32_t>(static_cast<size_t>(b.units(own, out)) * k.width);
    const float factor = use->dropout > 0 ? static_cast<float>(use->scaling / (1.0 - static_cast<double>(use->dropout))) : use->scaling;
    for (int j = 0; j < r; j += thin) {
      const int columns = std::min(thin, r - j);
      b.pack_thin_rows(w, panel, static_cast<const float*>(use->b) + j, r, out, columns);
      b.multiply(own, c, {b.row_of(own, left, from), left.ld}, out, 0, panel, to - from, b.units(own, out), k.width, false);
      for (int64_t t = from; t < to; ++t) b.add_thin(du + t * r + j, c + (t - from) * G, factor, columns);
    }
    const float* u = static_cast<const float*>(use->u);
    for (int64_t j = 0; j < r; ++j)
      for (int64_t t = from; t < to; ++t) {
        du_out[j * n + t] = du[t * r + j];
        u_out[j * n + t] = use->scaling * u[t * r + j];
      }
    if (use->dropout > 0)
      for (int t = from; t < to; ++t)
        k.dropout_bits(bits + place.bits + static_cast<int64_t>(t) * bit_words,
                       {op.dropout->seed, op.dropout->step, part.site, dropout_threshold(use->dropout)},
                       static_cast<uint32_t>(op.dropout->token_example[t]), static_cast<uint32_t>(op.dropout->token_position[t]), in);
  }

  // dx[m0 .. m0 + rows, c0 .. c0 + cols)
  void input_group(Worker& w, int c0, int cols, int m0, int rows) {
    const int G = b.group(), block = b.reduction_block(f);
    float* c = w.c.template get<float>(static_cast<size_t>(rows) * G);
    bool begun = false;
    for (int p = 0; p < parts.count; ++p) {
      const Weight& weight = *parts[p].w;
      const Left left = left_of(f, p, places[static_cast<size_t>(p)].dy);
      const int out = weight.out, bytes = static_cast<int>(bytes_of(weight.type));
      const int64_t stride = static_cast<int64_t>(in) * bytes;
      uint32_t* panels = w.panel.template get<uint32_t>(static_cast<size_t>(b.units(f, std::min(out, block))) * G);
      for (int from = 0; from < out; from += block, begun = true) {
        const int count = std::min(block, out - from);
        // Next for this worker: further rows of these columns, or columns a round of the threads further on.
        const int next = from + count < out ? c0 : c0 + G * static_cast<int>(b.workers_.size()), row = from + count < out ? from + count : 0;
        const Ahead ahead{static_cast<const char*>(weight.data) + row * stride + static_cast<int64_t>(next) * bytes, stride,
                          next < in ? std::min(block, out - row) : 0, std::min(G, in - next) * bytes};
        b.pack_weight_rows(f, panels, weight, from, count, c0, cols);
        b.multiply(f, c, {b.row_of(f, left, m0), left.ld}, out, b.units(f, from), panels, rows, b.units(f, count), cols, begun, ahead);
      }
    }
    for (int p = 0; p < parts.count; ++p)
      if (lora(p)) add_adapter(w, p, c, c0, cols, m0, rows);
    b.e_.finish(dx + static_cast<int64_t>(m0) * in + c0, in, c, G, nullptr, nullptr, 0, rows, cols);
  }

  // c += keep(du A)
  void add_adapter(Worker& w, int p, float* c, int c0, int cols, int m0, int rows) {
    const LoraUse& use = *lora(p);
    const int G = b.group();
    const int64_t panel_words = static_cast<int64_t>(use.r) * k.width;
    float* panels = w.thin_panel.template get<float>(static_cast<size_t>(use.r) * G);
    float* c2 = w.thin_c.template get<float>(static_cast<size_t>(rows) * G);
    for (int from = 0; from < cols; from += k.width)
      k.copy_f32(panels + from / k.width * panel_words, static_cast<const float*>(use.a) + c0 + from, in, use.r, std::min(k.width, cols - from));
    k.gemm_group_f32(c2, G, floats(places[p].du) + static_cast<int64_t>(m0) * use.r, use.r, panels, panel_words, rows, use.r, cols, false, {});
    for (int i = 0; i < rows; ++i) {
      float *to = c + static_cast<int64_t>(i) * G, *from = c2 + static_cast<int64_t>(i) * G;
      if (use.dropout > 0) k.mask_add(to, from, bits + places[p].bits + static_cast<int64_t>(m0 + i) * bit_words, c0, cols);
      else k.axpy(to, from, 1, cols);
    }
  }

  // dA[:, c0 .. c0 + cols) += sum over examples of du^T dropout(x); du carries the factor 1 / (1 - p).
  void grad_a(Worker& w, int p, int c0, int cols) {
    const LoraUse& use = *lora(p);
    float* panel = w.panel.template get<float>(static_cast<size_t>(n) * k.width);
    float* c = w.thin_c.template get<float>(static_cast<size_t>(use.r) * k.width);
    if (cols < k.width) std::memset(panel, 0, sizeof(float) * static_cast<size_t>(n) * k.width);
    for (int t = 0; t < n; ++t) {
      const E* row = x + static_cast<int64_t>(t) * in + c0;
      float* to = panel + static_cast<int64_t>(t) * k.width;
      if (use.dropout > 0) b.e_.widen_mask(to, row, bits + places[p].bits + static_cast<int64_t>(t) * bit_words, c0, cols);
      else b.e_.widen(to, row, cols);
    }
    for (int e = 0; e < op.examples; ++e) {
      const int from = op.example_offsets[e], count = op.example_offsets[e + 1] - from;
      k.gemm_f32(c, k.width, floats(places[p].du_out) + from, n, panel + static_cast<int64_t>(from) * k.width, use.r, count, 2, false);
      for (int64_t j = 0; j < use.r; ++j) k.axpy(static_cast<float*>(op.grads[p].a) + j * in + c0, c + j * k.width, 1, cols);
    }
  }

  // dB[o0 .. o0 + cols, :] += sum over examples of scaling dy^T u, worked on transposed.
  void grad_b(Worker& w, int p, int o0, int cols) {
    const LoraUse& use = *lora(p);
    float* panel = w.panel.template get<float>(static_cast<size_t>(n) * k.width);
    float* c = w.thin_c.template get<float>(static_cast<size_t>(use.r) * k.width);
    float* turned = w.grads.template get<float>(static_cast<size_t>(use.r) * k.width);
    float* grad = static_cast<float*>(op.grads[p].b) + static_cast<int64_t>(o0) * use.r;
    for (int o = 0; o < cols; ++o)
      for (int j = 0; j < use.r; ++j) turned[j * k.width + o] = grad[o * use.r + j];
    if (cols < k.width) std::memset(panel, 0, sizeof(float) * static_cast<size_t>(n) * k.width);
    for (int t = 0; t < n; ++t)
      b.e_.widen(panel + static_cast<int64_t>(t) * k.width, dy + static_cast<int64_t>(t) * ldy + parts[p].y_col + o0, cols);
    for (int e = 0; e < op.examples; ++e) {
      const int from = op.example_offsets[e], count = op.example_offsets[e + 1] - from;
      k.gemm_f32(c, k.width, floats(places[p].u_out) + from, n, panel + static_cast<int64_t>(from) * k.width, use.r, count, 2, false);
      k.axpy(turned, c, 1, static_cast<int64_t>(use.r) * k.width);
    }
    for (int o = 0; o < cols; ++o)
      for (int j = 0; j < use.r; ++j) grad[o * use.r + j] = turned[j * k.width + o];
  }

  void run() {
    lay_out();
    constexpr int kTiles = 8;
    const int blocks = (tiles + kTiles - 1) / kTiles;
    b.pool().run(static_cast<int64_t>(parts.count) * blocks, [&](int64_t task, int worker) {
      const int first = static_cast<int>(task % blocks) * kTiles;
      prepare(b.workers_[static_cast<size_t>(worker)], static_cast<int>(task / blocks), first, std::min(kTiles, tiles - first));
    });

    struct Job {
      int kind, part, at;  // 0 dx (part = row block), 1 dA, 2 dB
    };
    std::vector<Job> jobs;
    const int G = b.group(), row_blocks = b.row_blocks(n, (in + G - 1) / G);
    const int block_rows = ((n + row_blocks - 1) / row_blocks + T - 1) / T * T;
    for (int c0 = 0; dx && c0 < in; c0 += G)
      for (int m = 0; m * block_rows < n; ++m) jobs.push_back({0, m, c0});
    for (int p = 0; p < parts.count; ++p) {
      if (!lora(p)) continue;
      for (int c0 = 0; op.grads[p].a && c0 < in; c0 += k.width) jobs.push_back({1, p, c0});
      for (int o0 = 0; op.grads[p].b && o0 < parts[p].w->out; o0 += k.width) jobs.push_back({2, p, o0});
    }
    b.pool().run(static_cast<int64_t>(jobs.size()), [&](int64_t task, int worker) {
      Worker& w = b.workers_[static_cast<size_t>(worker)];
      const Job& job = jobs[static_cast<size_t>(task)];
      const int wide = job.kind == 2 ? parts[job.part].w->out : in, cols = std::min(job.kind == 0 ? G : k.width, wide - job.at);
      if (job.kind == 0) input_group(w, job.at, cols, job.part * block_rows, std::min(block_rows, n - job.part * block_rows));
      else if (job.kind == 1) grad_a(w, job.part, job.at, cols);
      else grad_b(w, job.part, job.at, cols);
    });
  }
};

template <class A>
void FastBackend<A>::linear_backward(const LinearBackward& op) {
  ran("linear_backward");
  if (op.n == 0 || op.parts.count == 0) return;
  Backward{*this, op}.run();
}

template <class A>
void FastBackend<A>::logits_backward(const LogitsBackward& op) {
  ran("logits_backward");
  const float* d = static_cast<const float*>(op.dlogits);
  const int C = op.head.in, V = op.head.out;
  if (op.labels) {
    Worker& w = workers_[0];
    float *sum = w.c.template get<float>(static_cast<size_t>(2) * C), *row = sum + C;
    for (int t = 0; t < op.n; ++t) {
      std::memset(sum, 0, sizeof(float) * static_cast<size_t>(C));
      for (int j = 0; j < (op.labels[2 * t] == op.labels[2 * t + 1] ? 1 : 2); ++j) {
        const int64_t id = op.labels[2 * t + j];
        if (op.head.type == DType::BF16) k_.bf16.widen(row, static_cast<const Bf16*>(op.head.data) + id * C, C);
        else k_.f32.widen(row, static_cast<const float*>(op.head.data) + id * C, C);
        k_.axpy(sum, row, d[t * static_cast<int64_t>(V) + id], C);
      }
      e_.narrow(acts(op.dx) + static_cast<int64_t>(t) * C, sum, C);
    }
    return;
  }
  // Panels of dx columns over the whole vocabulary; dlogits in f32, whatever the weights.
  const int block = 2048;
  pool().run_ranges(C, k_.width, [&](int64_t c0, int64_t c1, int worker) {
    Worker& w = workers_[static_cast<size_t>(worker)];
    float* panel = w.panel.template get<float>(static_cast<size_t>(block) * k_.width);
    float* c = w.c.template get<float>(static_cast<size_t>(op.n) * k_.width);
    const int cols = static_cast<int>(c1 - c0);
    for (int from = 0; from < V; from += block) {
      const int count = std::min(block, V - from);
      const int64_t at = static_cast<int64_t>(from) * C + c0;
      if (op.head.type == DType::BF16) k_.copy_bf16(panel, static_cast<const Bf16*>(op.head.data) + at, C, count, cols);
      else k_.copy_f32(panel, static_cast<const float*>(op.head.data) + at, C, count, cols);
      k_.gemm_f32(c, k_.width, d + from, V, panel, op.n, count, 2, from > 0);
    }
    for (int t = 0; t < op.n; ++t) e_.narrow(acts(op.dx) + static_cast<int64_t>(t) * C + c0, c + static_cast<int64_t>(t) * k_.width, cols);
  });
}

}  // namespace steerlab
