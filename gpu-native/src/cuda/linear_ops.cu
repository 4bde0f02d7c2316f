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

Run run_from(const LinearPart* parts, int n_parts, int first) {
  Run r{first, first + 1, parts[first].y_col, parts[first].w->out};
  while (r.last < n_parts) {
    const LinearPart &a = parts[r.last - 1], &b = parts[r.last];
    const char* end = static_cast<const char*>(a.w->data) + static_cast<size_t>(a.w->out) * a.w->in * bytes_of(a.w->type);
    if (b.w->data != end || b.w->type != a.w->type || b.w->in != a.w->in || b.y_col != a.y_col + a.w->out) break;
    r.cols += b.w->out;
    ++r.last;
  }
  return r;
}

bool has_bias(const LinearPart* parts, const Run& run) {
  for (int i = run.first; i < run.last; ++i)
    if (parts[i].w->bias) return true;
  return false;
}

gpu::BiasParts bias_parts(const LinearPart* parts, const Run& run) {
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
          part.site};
}

// Hands the adapters of all parts to f, as many at a time as one launch describes.
template <class F>
void for_adapters(const LinearPart* parts, int n_parts, F f) {
  gpu::LoraTasks tasks{};
  for (int i = 0; i < n_parts; ++i)
    for (int l = 0; l < parts[i].n_lora; ++l) {
      if (parts[i].lora[l].r == 0 || parts[i].lora[l].end <= parts[i].lora[l].begin) continue;
      tasks.task[tasks.count++] = task_of(parts[i], parts[i].lora[l]);
      if (tasks.count < gpu::kMaxLaunchUses) continue;
      f(tasks);
      tasks.count = 0;
    }
  if (tasks.count) f(tasks);
}

}  // namespace

template <class T>
void CudaBackend<T>::linear(void* y, int ldy, const void* x, int n, const LinearPart* parts, int n_parts, const DropoutKey* dropout) {
  const Op op(*this, "linear");
  if (n == 0 || n_parts == 0) return;
  const int in = parts[0].w->in;
  for (int first = 0; first < n_parts;) {
    const Run run = run_from(parts, n_parts, first);
    gpu::Gemm g{x, parts[first].w->data, acts(y) + run.col, n, run.cols, in, in, in, ldy, false, false};
    const bool bias = has_bias(parts, run);
    if (bias && sizeof(T) == 2) {
      // One rounding after the bias: the product stays F32 until then. Columns of sum are counted from run.col.
      Workspace sum(*this, sizeof(float) * static_cast<size_t>(n) * run.cols);
      g.y = sum.template as<float>();
      g.ldy = run.cols;
      product(g, parts[first].w->type, true);
      gpu::add_bias(stream_, bias_parts(parts, run), sum.template as<float>() - run.col, run.cols, acts(y), ldy, n);
    } else {
      product(g, parts[first].w->type, sizeof(T) == 4);
      if constexpr (sizeof(T) == 4)
        if (bias) gpu::add_bias(stream_, bias_parts(parts, run), static_cast<const float*>(y), ldy, acts(y), ldy, n);
    }
    first = run.last;
  }
  const DropoutKey key = dropout ? *dropout : DropoutKey{};
  for_adapters(parts, n_parts, [&](const gpu::LoraTasks& tasks) {
    const Op lora(*this, "lora");
    gpu::lora_down(stream_, tasks, acts(x), in, key);
    gpu::lora_up(stream_, tasks, acts(y), ldy);
  });
}

template <class T>
void CudaBackend<T>::linear_backward(void* dx, const void* dy, int ldy, const void* x, int n, const LinearPart* parts,
                                     const LoraGrad* grads, int n_parts, const DropoutKey* dropout, const int32_t* example_offsets,
                                     int examples) {
  const Op op(*this, "linear_backward");
  if (n == 0 || n_parts == 0) return;
  const int in = parts[0].w->in;
  const DropoutKey key = dropout ? *dropout : DropoutKey{};

  gpu::LoraTasks tasks{};
  float *du[gpu::kMaxLaunchUses] = {}, *da[gpu::kMaxLaunchUses] = {}, *db[gpu::kMaxLaunchUses] = {};
  size_t du_elements = 0;
  for (int i = 0; i < n_parts; ++i) {
    if (parts[i].n_lora == 0 || parts[i].lora[0].r == 0) continue;
    da[tasks.count] = static_cast<float*>(grads[i].a);
    db[tasks.count] = static_cast<float*>(grads[i].b);
    tasks.task[tasks.count++] = task_of(parts[i], parts[i].lora[0]);
    du_elements += static_cast<size_t>(n) * parts[i].lora[0].r;
  }
  Workspace du_memory(*this, sizeof(float) * (du_elements + 1));
  if (tasks.count) {
    du[0] = du_memory.template as<float>();
    for (int i = 1; i < tasks.count; ++i) du[i] = du[i - 1] + static_cast<size_t>(n) * tasks.task[i - 1].r;
    const int32_t* offsets = constant(example_offsets, static_cast<size_t>(examples + 1));
    Workspace partials(*this, sizeof(float) * gpu::lora_partials(tasks, in, examples));
    const Op lora(*this, "lora_backward");
    gpu::lora_du(stream_, tasks, du, acts(dy), ldy, n);
    gpu::lora_gradients(stream_, tasks, du, da, db, partials.template as<float>(), acts(dy), ldy, acts(x), in, key, offsets, examples);
  }
  if (!dx) return;

  const bool direct = sizeof(T) == 4;  // dx itself holds the F32 sum
  const Run whole = run_from(parts, n_parts, 0);
  if (!direct && tasks.count == 0 && whole.last == n_parts) {
    product({acts(dy) + whole.col, parts[0].w->data, dx, n, in, whole.cols, ldy, in, in, true, false}, parts[0].w->type, false);
    return;
  }
  Workspace sums(*this, direct ? 1 : sizeof(float) * static_cast<size_t>(n) * in);
  float* base = direct ? static_cast<float*>(dx) : sums.template as<float>();
  for (int first = 0; first < n_parts;) {
    const Run run = run_from(parts, n_parts, first);
    product({acts(dy) + run.col, parts[first].w->data, base, n, in, run.cols, ldy, in, in, true, first > 0}, parts[first].w->type, true);
    first = run.last;
  }
  if (direct && !tasks.count) return;
  const Op lora(*this, "lora_dx");
  gpu::lora_dx(stream_, tasks, du, acts(dx), base, n, in, key);
}

template <class T>
void CudaBackend<T>::logits(void* logits, const void* x, const Weight& head, int n) {
  const Op op(*this, "logits");
  product({x, head.data, logits, n, head.out, head.in, head.in, head.in, head.out, false, false}, head.type, true);
}

template class CudaBackend<bf16>;
template class CudaBackend<float>;

}  // namespace steerlab
