// The projections: neighbouring weights are multiplied together, then bias and adapters are added at their rounding points.
//
// forward:  bf16(x W^T + bias), then bf16(that + scaling u B^T).   backward: dx = round(F32 sum of dy W over parts + adapters).
#include "cuda_backend.h"

namespace steerlab {
namespace {

// Parts [first, last) whose weights lie end to end in memory and whose outputs are neighbouring columns.
struct Run {
  int first, last, col, cols;
};

Run run_from(HostSpan<const LinearPart> parts, int first) {
  Run r{first, first + 1, parts[first].y_col, parts[first].w->out};
  while (r.last < parts.count) {
    const LinearPart &a = parts[r.last - 1], &b = parts[r.last];
    const char* end = static_cast<const char*>(a.w->data) + static_cast<size_t>(a.w->out) * a.w->in * bytes_of(a.w->type);
    if (b.w->data != end || b.w->type != a.w->type || b.w->in != a.w->in || b.y_col != a.y_col + a.w->out) break;
    r.cols += b.w->out;
    ++r.last;
  }
  return r;
}

bool has_bias(HostSpan<const LinearPart> parts, const Run& run) {
  for (int i = run.first; i < run.last; ++i)
    if (parts[i].w->bias) return true;
  return false;
}

gpu::BiasParts bias_parts(HostSpan<const LinearPart> parts, const Run& run) {
  gpu::BiasParts out{};
  if (run.last - run.first > gpu::kMaxLaunchParts)
    throw Error("internal", "Expected at most 8 neighbouring projections with bias but received more.");
  for (int i = run.first; i < run.last; ++i) out.part[out.count++] = {parts[i].y_col, parts[i].w->out, parts[i].w->bias};
  return out;
}

gpu::LoraTask task_of(const LinearPart& part, const LoraUse& use) {
  return {use.begin,
          use.end,
          use.r,
          use.scaling,
          use.dropout,
          static_cast<const float*>(use.a),
          static_cast<const float*>(use.b),
          static_cast<float*>(use.u),
          part.y_col,
          part.w->out,
          part.site,
          static_cast<const float*>(use.bias)};
}

// Hands the adapters of all parts to f, as many at a time as one launch describes.
template <class F>
void for_adapters(HostSpan<const LinearPart> parts, bool matrix_units, F f) {
  gpu::LoraTasks tasks{0, matrix_units, {}};
  for (const LinearPart& part : parts)
    for (const LoraUse& use : part.lora) {
      if (use.r == 0 || use.end <= use.begin) continue;
      tasks.task[tasks.count++] = task_of(part, use);
      if (tasks.count < gpu::kMaxLaunchUses) continue;
      f(tasks);
      tasks.count = 0;
    }
  if (tasks.count) f(tasks);
}

}  // namespace

template <class T>
void CudaBackend<T>::linear(const Linear& op) {
  const Timed timed(*this, "linear");
  if (op.n == 0 || op.parts.count == 0) return;
  const int in = op.parts[0].w->in;
  for (int first = 0; first < op.parts.count;) {
    const Run run = run_from(op.parts, first);
    gpu::Gemm g{op.x, op.parts[first].w->data, acts(op.y) + run.col, op.n, run.cols, in, in, in, op.ldy, false, false};
    const bool bias = has_bias(op.parts, run);
    if (bias && product_with_bias(g, op.parts[first].w->type, bias_parts(op.parts, run))) {
      // served, rounded once after the bias
    } else if (bias && sizeof(T) == 2) {
      // One rounding after the bias: the product stays F32 until then. Columns of sum are counted from run.col.
      Workspace sum(*this, sizeof(float) * static_cast<size_t>(op.n) * run.cols);
      g.y = sum.template as<float>();
      g.ldy = run.cols;
      product(g, op.parts[first].w->type, true);
      gpu::add_bias(stream_, bias_parts(op.parts, run), sum.template as<float>() - run.col, run.cols, acts(op.y), op.ldy, op.n);
    } else {
      product(g, op.parts[first].w->type, sizeof(T) == 4);
      if constexpr (sizeof(T) == 4)
        if (bias) gpu::add_bias(stream_, bias_parts(op.parts, run), static_cast<const float*>(op.y), op.ldy, acts(op.y), op.ldy, op.n);
    }
    first = run.last;
  }
  const DropoutKey key = op.dropout ? *op.dropout : DropoutKey{};
  for_adapters(op.parts, lora_on_matrix_units_, [&](const gpu::LoraTasks& tasks) {
    const Timed adapters(*this, "lora");
    if (tasks.matrix_units) count("lora.mma");
    gpu::lora_down(stream_, tasks, acts(op.x), in, key);
    gpu::lora_up(stream_, tasks, acts(op.y), op.ldy);
  });
}

template <class T>
void CudaBackend<T>::linear_backward(const LinearBackward& op) {
  const Timed timed(*this, "linear_backward");
  if (op.n == 0 || op.parts.count == 0) return;
  const int in = op.parts[0].w->in;
  const DropoutKey key = op.dropout ? *op.dropout : DropoutKey{};

  gpu::LoraTasks tasks{0, lora_on_matrix_units_, {}};
  float *du[gpu::kMaxLaunchUses] = {}, *da[gpu::kMaxLaunchUses] = {}, *db[gpu::kMaxLaunchUses] = {};
  size_t du_elements = 0;
  for (int i = 0; i < op.parts.count; ++i) {
    if (op.parts[i].lora.count == 0 || op.parts[i].lora[0].r == 0) continue;
    da[tasks.count] = static_cast<float*>(op.grads[i].a);
    db[tasks.count] = static_cast<float*>(op.grads[i].b);
    tasks.task[tasks.count++] = task_of(op.parts[i], op.parts[i].lora[0]);
    du_elements += static_cast<size_t>(op.n) * op.parts[i].lora[0].r;
  }
  Workspace du_memory(*this, sizeof(float) * (du_elements + 1));
  if (tasks.count) {
    du[0] = du_memory.template as<float>();
    for (int i = 1; i < tasks.count; ++i) du[i] = du[i - 1] + static_cast<size_t>(op.n) * tasks.task[i - 1].r;
    Workspace partials(*this, sizeof(float) * gpu::lora_partials(tasks, in, op.examples));
    const Timed adapters(*this, "lora_backward");
    if (tasks.matrix_units) count("lora_backward.mma");
    gpu::lora_du(stream_, tasks, du, acts(op.dy), op.ldy, op.n);
    gpu::lora_gradients(stream_, tasks, du, da, db, partials.template as<float>(), acts(op.dy), op.ldy, acts(op.x), in, key, op.example_offsets, op.examples);
  }
  if (!op.dx) return;

  const bool direct = sizeof(T) == 4;  // dx itself holds the F32 sum
  const Run whole = run_from(op.parts, 0);
  if (!direct && tasks.count == 0 && whole.last == op.parts.count) {
    product({acts(op.dy) + whole.col, op.parts[0].w->data, op.dx, op.n, in, whole.cols, op.ldy, in, in, true, false}, op.parts[0].w->type, false);
    return;
  }
  Workspace sums(*this, direct ? 1 : sizeof(float) * static_cast<size_t>(op.n) * in);
  float* base = direct ? static_cast<float*>(op.dx) : sums.template as<float>();
  for (int first = 0; first < op.parts.count;) {
    const Run run = run_from(op.parts, first);
    product({acts(op.dy) + run.col, op.parts[first].w->data, base, op.n, in, run.cols, op.ldy, in, in, true, first > 0}, op.parts[first].w->type, true);
    first = run.last;
  }
  if (direct && !tasks.count) return;
  const Timed adapters(*this, "lora_dx");
  gpu::lora_dx(stream_, tasks, du, acts(op.dx), base, op.n, in, key);
}

template <class T>
void CudaBackend<T>::logits(const Logits& op) {
  const Timed timed(*this, "logits");
  product({op.x, op.head.data, op.logits, op.n, op.head.out, op.head.in, op.head.in, op.head.in, op.head.out, false, false}, op.head.type, true);
}

template class CudaBackend<bf16>;
template class CudaBackend<float>;

}  // namespace steerlab
