// The ops that work token by token, and attention: each is one call of kernels.h.
#include "cuda_backend.h"

namespace steerlab {

template <class T>
void CudaBackend<T>::embed(void* h, const Weight& table, const int32_t* tokens, int n) {
  const Op op(*this, "embed");
  if (n == 0) return;
  if (table.type == DType::BF16) gpu::embed(stream_, acts(h), static_cast<const bf16*>(table.data), tokens, n, table.in);
  else if constexpr (sizeof(T) == 4) gpu::embed(stream_, acts(h), static_cast<const float*>(table.data), tokens, n, table.in);
}

template <class T>
void CudaBackend<T>::residual_norm(void* h, const void* delta, const SteerTable* steer, int layer, void* x, const float* weight,
                                   float eps, int n, int C) {
  const Op op(*this, "residual_norm");
  if (n) gpu::residual_norm(stream_, acts(h), acts(delta), steer, layer, acts(x), weight, eps, n, C);
}

template <class T>
void CudaBackend<T>::norm_backward(void* dh, const void* dx, const void* h, const float* weight, float eps, int n, int C) {
  const Op op(*this, "norm_backward");
  if (n) gpu::norm_backward(stream_, acts(dh), acts(dx), acts(h), weight, eps, n, C);
}

template <class T>
void CudaBackend<T>::swiglu(void* out, const void* gu, int n, int F) {
  const Op op(*this, "swiglu");
  if (n) gpu::swiglu(stream_, acts(out), acts(gu), n, F);
}

template <class T>
void CudaBackend<T>::swiglu_backward(void* dgu, const void* dout, const void* gu, int n, int F) {
  const Op op(*this, "swiglu_backward");
  if (n) gpu::swiglu_backward(stream_, acts(dgu), acts(dout), acts(gu), n, F);
}

template <class T>
void CudaBackend<T>::rope_store(void* qkv, void* k_new, void* v_new, const float* cos, const float* sin,
                                const int32_t* positions, const int32_t* slot, int n, HeadShape s) {
  const Op op(*this, "rope_store");
  if (n) gpu::rope_store(stream_, acts(qkv), acts(k_new), acts(v_new), cos, sin, positions, slot, n, s);
}

template <class T>
void CudaBackend<T>::rope_backward(void* dqkv, const float* cos, const float* sin, const int32_t* positions, int n,
                                   HeadShape s) {
  const Op op(*this, "rope_backward");
  if (n) gpu::rope_backward(stream_, acts(dqkv), cos, sin, positions, n, s);
}

template <class T>
void CudaBackend<T>::gather_rows(void* dst, const void* src, const int32_t* index, int n, int width) {
  const Op op(*this, "gather_rows");
  if (n) gpu::gather_rows(stream_, acts(dst), acts(src), index, n, width);
}

template <class T>
void CudaBackend<T>::scatter_add_rows(void* dst, const void* src, const int32_t* index, int n, int width) {
  const Op op(*this, "scatter_add_rows");
  if (n) gpu::scatter_add_rows(stream_, acts(dst), acts(src), index, n, width);
}

template <class T>
void CudaBackend<T>::to_f32(float* dst, const void* src, size_t elements) {
  const Op op(*this, "to_f32");
  if (elements) gpu::to_f32(stream_, dst, acts(src), elements);
}

template <class T>
void CudaBackend<T>::add(void* a, const void* b, size_t elements) {
  const Op op(*this, "add");
  if (elements) gpu::add(stream_, acts(a), acts(b), elements);
}

template <class T>
void CudaBackend<T>::attention(void* out, void* lse, const void* q_base, int ldq, const AttentionCall& call, HeadShape s) {
  const Op op(*this, "attention");
  if (call.n_rows == 0 || call.max_q_len == 0) return;
  if (gpu::attention(stream_, acts(out), static_cast<float*>(lse), acts(q_base), ldq, call, s)) count("attention.mma");
}

template <class T>
void CudaBackend<T>::attention_backward(void* dqkv, int n_tail, const int32_t* own_begin, const void* dout, const void* out,
                                        const void* lse, const void* q_base, int ldq, const AttentionCall& call, HeadShape s) {
  const Op op(*this, "attention_backward");
  if (n_tail == 0) return;
  Workspace delta(*this, sizeof(float) * static_cast<size_t>(call.total_q + 1) * static_cast<size_t>(s.H));
  const int32_t* begins = constant(own_begin, static_cast<size_t>(call.n_rows));
  gpu::attention_backward(stream_, acts(dqkv), n_tail, begins, acts(dout), acts(out),
                          static_cast<const float*>(lse), delta.template as<float>(), acts(q_base), ldq, call, s);
}

template class CudaBackend<bf16>;
template class CudaBackend<float>;

}  // namespace steerlab
