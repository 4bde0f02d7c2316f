// The ops that work token by token, and attention: each is one call of kernels.h.
#include "cuda_backend.h"

namespace steerlab {

template <class T>
void CudaBackend<T>::embed(const Embed& op) {
  const Timed timed(*this, "embed");
  if (op.n == 0) return;
  if (op.table.type == DType::BF16) gpu::embed<T, bf16>(stream_, op);
  else if constexpr (sizeof(T) == 4) gpu::embed<T, float>(stream_, op);
}

#define ONE_KERNEL(name, Arguments, size)                   \
  template <class T>                                        \
  void CudaBackend<T>::name(const Arguments& op) {          \
    const Timed timed(*this, #name);                         \
    if (op.size) gpu::name<T>(stream_, op);                 \
  }
ONE_KERNEL(residual_norm, ResidualNorm, n)
ONE_KERNEL(norm_backward, NormBackward, n)
ONE_KERNEL(swiglu, Swiglu, n)
ONE_KERNEL(swiglu_backward, SwigluBackward, n)
ONE_KERNEL(rope_store, RopeStore, n)
ONE_KERNEL(rope_backward, RopeBackward, n)
ONE_KERNEL(gather_rows, GatherRows, n)
ONE_KERNEL(scatter_add_rows, ScatterAddRows, n)
ONE_KERNEL(to_f32, ToF32, count)
ONE_KERNEL(add, Add, count)
#undef ONE_KERNEL

template <class T>
void CudaBackend<T>::attention(const Attention& op) {
  const Timed timed(*this, "attention");
  if (op.call.n_rows == 0 || op.call.max_q_len == 0) return;
  if (gpu::attention<T>(stream_, op, attention_on_matrix_units_)) count("attention.mma");
}

template <class T>
void CudaBackend<T>::attention_backward(const AttentionBackward& op) {
  const Timed timed(*this, "attention_backward");
  if (op.n_tail == 0) return;
  Workspace delta(*this, sizeof(float) * static_cast<size_t>(op.call.total_q + 1) * static_cast<size_t>(op.heads.H));
  if (gpu::attention_backward<T>(stream_, op, delta.template as<float>(), attention_on_matrix_units_)) count("attention_backward.mma");
}

template class CudaBackend<bf16>;
template class CudaBackend<float>;

}  // namespace steerlab
