// Loss, optimizer, and the ops that read logits: they upload small tables, run, and wait only where the seam says so.
#include <algorithm>
#include <numeric>
#include <vector>

#include "cuda_backend.h"

namespace steerlab {

template <class T>
void CudaBackend<T>::logits_backward(void* dx, const void* dlogits, const Weight& head, const int32_t* labels, int n) {
  const Op op(*this, "logits_backward");
  if (n == 0) return;
  const float* d = static_cast<const float*>(dlogits);
  const int V = head.out, C = head.in;
  const auto with_head = [&](auto* weights) {
    if (labels) {
      count("logits_backward.labels");
      gpu::logits_backward_labels(stream_, acts(dx), d, weights, labels, n, V, C);
      return;
    }
    Workspace partial(*this, sizeof(float) * static_cast<size_t>(gpu::logits_backward_chunks(V)) * n * C);
    gpu::logits_backward_full(stream_, acts(dx), partial.template as<float>(), d, weights, n, V, C);
  };
  if (head.type == DType::BF16) with_head(static_cast<const bf16*>(head.data));
  else if constexpr (sizeof(T) == 4) with_head(static_cast<const float*>(head.data));
}

template <class T>
void CudaBackend<T>::label_loss(LabelResult* host_out, void* dlogits, const void* logits, const int32_t* labels,
                                const int32_t* targets, float mass_weight, double scale, int n, int V) {
  const Op op(*this, "label_loss");
  if (n == 0) return;
  Workspace out(*this, sizeof(LabelResult) * static_cast<size_t>(n));
  gpu::label_loss(stream_, out.template as<LabelResult>(), static_cast<float*>(dlogits), static_cast<const float*>(logits), labels,
                  targets, mass_weight, scale, n, V);
  staging_->expect(host_out, out.template as<LabelResult>(), sizeof(LabelResult) * static_cast<size_t>(n));
}

template <class T>
double CudaBackend<T>::optimizer_step(void* p, void* m, void* v, const void* g, size_t elements, const AdamW& hyper) {
  const Op op(*this, "optimizer_step");
  Workspace memory(*this, sizeof(double) * static_cast<size_t>(gpu::norm_partials(elements) + 1));
  double *norm = memory.template as<double>(), *partial = norm + 1, result = 0;
  gpu::gradient_norm(stream_, norm, partial, static_cast<const float*>(g), elements);
  gpu::adamw(stream_, static_cast<float*>(p), static_cast<float*>(m), static_cast<float*>(v), static_cast<const float*>(g), elements,
             hyper, norm);
  staging_->expect(&result, norm, sizeof result);
  synchronize();
  return result;
}

template <class T>
void CudaBackend<T>::score(const void* logits, int n, int V, const int32_t* host_ids, const int32_t* host_id_offsets, int top_k,
                           double* host_logsumexp, double* host_id_logprobs, int32_t* host_top_ids, double* host_top_logprobs) {
  const Op op(*this, "score");
  if (n == 0) return;
  const float* l = static_cast<const float*>(logits);
  const size_t ids = host_ids && host_id_offsets ? static_cast<size_t>(host_id_offsets[n] - host_id_offsets[0]) : 0;
  const int k = std::min(top_k, V);
  const bool on_device = k > 0 && k <= gpu::kMaxTopK;
  const size_t tops = on_device ? static_cast<size_t>(n) * top_k : 0;

  Workspace lse(*this, sizeof(double) * static_cast<size_t>(n));
  Workspace chosen(*this, (2 * sizeof(int32_t) + sizeof(double)) * (ids + 1));
  Workspace best(*this, (sizeof(double) + sizeof(int32_t)) * (tops + 1));
  gpu::log_sum_exp(stream_, lse.template as<double>(), l, n, V);
  check_cuda(cudaMemcpyAsync(host_logsumexp, lse.template as<double>(), sizeof(double) * static_cast<size_t>(n), cudaMemcpyDeviceToHost,
                             stream_),
             "reading log-sum-exp");
  if (ids) {
    std::vector<int32_t> rows;
    for (int i = 0; i < n; ++i) rows.insert(rows.end(), static_cast<size_t>(host_id_offsets[i + 1] - host_id_offsets[i]), i);
    double* out = chosen.template as<double>();
    int32_t *device_ids = reinterpret_cast<int32_t*>(out + ids), *device_rows = device_ids + ids;
    upload(device_ids, host_ids + host_id_offsets[0], sizeof(int32_t) * ids);
    upload(device_rows, rows.data(), sizeof(int32_t) * ids);
    gpu::gather_logprobs(stream_, out, l, lse.template as<double>(), device_ids, device_rows, static_cast<int>(ids), V);
    check_cuda(cudaMemcpyAsync(host_id_logprobs + host_id_offsets[0], out, sizeof(double) * ids, cudaMemcpyDeviceToHost, stream_),
               "reading log-probabilities");
  }
  if (on_device) {
    double* logprobs = best.template as<double>();
    int32_t* top_ids = reinterpret_cast<int32_t*>(logprobs + tops);
    gpu::top_k(stream_, top_ids, logprobs, l, lse.template as<double>(), n, V, k, top_k);
    check_cuda(cudaMemcpyAsync(host_top_ids, top_ids, sizeof(int32_t) * tops, cudaMemcpyDeviceToHost, stream_), "reading top ids");
    check_cuda(cudaMemcpyAsync(host_top_logprobs, logprobs, sizeof(double) * tops, cudaMemcpyDeviceToHost, stream_), "reading top log-probabilities");
  }
  synchronize();
  if (k > 0 && !on_device) host_top_k(l, host_logsumexp, n, V, k, top_k, host_top_ids, host_top_logprobs);
}

// For k beyond what a block sorts: rows come to the host.
template <class T>
void CudaBackend<T>::host_top_k(const float* logits, const double* lse, int n, int V, int k, int stride, int32_t* ids,
                                double* logprobs) {
  std::vector<float> row(static_cast<size_t>(V));
  std::vector<int32_t> order(static_cast<size_t>(V));
  for (int i = 0; i < n; ++i) {
    download(row.data(), logits + static_cast<int64_t>(i) * V, sizeof(float) * static_cast<size_t>(V));
    std::iota(order.begin(), order.end(), 0);
    std::partial_sort(order.begin(), order.begin() + k, order.end(), [&](int32_t a, int32_t b) {
      return row[static_cast<size_t>(a)] != row[static_cast<size_t>(b)] ? row[static_cast<size_t>(a)] > row[static_cast<size_t>(b)] : a < b;
    });
    for (int j = 0; j < k; ++j) {
      ids[static_cast<int64_t>(i) * stride + j] = order[static_cast<size_t>(j)];
      logprobs[static_cast<int64_t>(i) * stride + j] = row[static_cast<size_t>(order[static_cast<size_t>(j)])] - lse[i];
    }
  }
}

constexpr uint32_t kSampleTag = 0x53414d50u;  // keeps sampling apart from the other Philox streams; as on the CPU

template <class T>
void CudaBackend<T>::sample(int32_t* host_tokens, const void* logits, int n, int V, float temperature, float top_p,
                            const SampleRow* host_rows) {
  const Op op(*this, "sample");
  if (n == 0) return;
  std::vector<float> uniform(static_cast<size_t>(n));
  for (int i = 0; i < n; ++i)
    uniform[static_cast<size_t>(i)] = uniform24(philox(host_rows[i].position, 0, 0, kSampleTag, host_rows[i].seed).w[0]);
  Workspace draws(*this, sizeof(float) * static_cast<size_t>(n));
  Workspace tokens(*this, sizeof(int32_t) * static_cast<size_t>(n));
  upload(draws.template as<float>(), uniform.data(), sizeof(float) * static_cast<size_t>(n));
  gpu::sample(stream_, tokens.template as<int32_t>(), static_cast<const float*>(logits), draws.template as<float>(), temperature, top_p, n, V);
  download(host_tokens, tokens.template as<int32_t>(), sizeof(int32_t) * static_cast<size_t>(n));
}

template class CudaBackend<bf16>;
template class CudaBackend<float>;

}  // namespace steerlab
