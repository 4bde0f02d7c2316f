// Loss, optimizer, and the ops that read logits: they upload small tables, run, and wait only where the seam says so.
#include <algorithm>
#include <numeric>
#include <vector>

#include "cuda_backend.h"

namespace steerlab {

template <class T>
void CudaBackend<T>::logits_backward(const LogitsBackward& op) {
  const Timed timed(*this, "logits_backward");
  if (op.n == 0) return;
  const float* d = static_cast<const float*>(op.dlogits);
  const int V = op.head.out, C = op.head.in;
  const auto with_head = [&](auto* weights) {
    if (op.labels) {
      count("logits_backward.labels");
      gpu::logits_backward_labels(stream_, acts(op.dx), d, weights, op.labels, op.n, V, C);
      return;
    }
    Workspace partial(*this, sizeof(float) * static_cast<size_t>(gpu::logits_backward_chunks(V)) * op.n * C);
    gpu::logits_backward_full(stream_, acts(op.dx), partial.template as<float>(), d, weights, op.n, V, C);
  };
  if (op.head.type == DType::BF16) with_head(static_cast<const bf16*>(op.head.data));
  else if constexpr (sizeof(T) == 4) with_head(static_cast<const float*>(op.head.data));
}

#define ROW_LOSS(name, Arguments, Result)                                                      \
  template <class T>                                                                           \
  void CudaBackend<T>::name(const Arguments& op) {                                             \
    const Timed timed(*this, #name);                                                            \
    if (op.n == 0) return;                                                                     \
    const size_t bytes = sizeof(Result) * static_cast<size_t>(op.n);                           \
    Workspace out(*this, bytes);                                                               \
    gpu::name(stream_, out.template as<Result>(), op);                                         \
    staging_->expect(op.out.data, out.template as<Result>(), bytes);                           \
  }
ROW_LOSS(label_loss, LabelLoss, LabelResult)
ROW_LOSS(match_loss, MatchLoss, double)
#undef ROW_LOSS

template <class T>
void CudaBackend<T>::optimizer_step(const OptimizerStep& op) {
  const Timed timed(*this, "optimizer_step");
  Workspace memory(*this, sizeof(double) * static_cast<size_t>(gpu::norm_partials(op.count) + 1));
  double *norm = memory.template as<double>(), *partial = norm + 1;
  gpu::gradient_norm(stream_, norm, partial, static_cast<const float*>(op.g), op.count);
  gpu::adamw(stream_, static_cast<float*>(op.p), static_cast<float*>(op.m), static_cast<float*>(op.v), static_cast<const float*>(op.g), op.count,
             op.hyper, norm);
  staging_->expect(&op.norm, norm, sizeof op.norm);
  synchronize();
}

template <class T>
void CudaBackend<T>::score(const Score& op) {
  const Timed timed(*this, "score");
  if (op.n == 0) return;
  const float* l = static_cast<const float*>(op.logits);
  const size_t ids = op.ids.count ? static_cast<size_t>(op.id_offsets[op.n] - op.id_offsets[0]) : 0;
  const int k = std::min(op.top_k, op.V);
  const bool on_device = k > 0 && k <= gpu::kMaxTopK;
  const size_t tops = on_device ? static_cast<size_t>(op.n) * op.top_k : 0;

  Workspace lse(*this, sizeof(double) * static_cast<size_t>(op.n));
  Workspace chosen(*this, (2 * sizeof(int32_t) + sizeof(double)) * (ids + 1));
  Workspace best(*this, (sizeof(double) + sizeof(int32_t)) * (tops + 1));
  gpu::log_sum_exp(stream_, lse.template as<double>(), l, op.n, op.V);
  check_cuda(cudaMemcpyAsync(op.logsumexp.data, lse.template as<double>(), sizeof(double) * static_cast<size_t>(op.n), cudaMemcpyDeviceToHost,
                             stream_),
             "reading log-sum-exp");
  if (ids) {
    std::vector<int32_t> rows;
    for (int i = 0; i < op.n; ++i) rows.insert(rows.end(), static_cast<size_t>(op.id_offsets[i + 1] - op.id_offsets[i]), i);
    double* out = chosen.template as<double>();
    int32_t *device_ids = reinterpret_cast<int32_t*>(out + ids), *device_rows = device_ids + ids;
    upload(device_ids, op.ids.data + op.id_offsets[0], sizeof(int32_t) * ids);
    upload(device_rows, rows.data(), sizeof(int32_t) * ids);
    gpu::gather_logprobs(stream_, out, l, lse.template as<double>(), device_ids, device_rows, static_cast<int>(ids), op.V);
    check_cuda(cudaMemcpyAsync(op.id_logprobs.data + op.id_offsets[0], out, sizeof(double) * ids, cudaMemcpyDeviceToHost, stream_),
               "reading log-probabilities");
  }
  if (on_device) {
    double* logprobs = best.template as<double>();
    int32_t* top_ids = reinterpret_cast<int32_t*>(logprobs + tops);
    gpu::top_k(stream_, top_ids, logprobs, l, lse.template as<double>(), op.n, op.V, k, op.top_k);
    check_cuda(cudaMemcpyAsync(op.top_ids.data, top_ids, sizeof(int32_t) * tops, cudaMemcpyDeviceToHost, stream_), "reading top ids");
    check_cuda(cudaMemcpyAsync(op.top_logprobs.data, logprobs, sizeof(double) * tops, cudaMemcpyDeviceToHost, stream_), "reading top log-probabilities");
  }
  synchronize();
  if (k > 0 && !on_device) host_top_k(op, k);
}

// For k beyond what a block sorts: rows come to the host.
template <class T>
void CudaBackend<T>::host_top_k(const Score& op, int k) {
  std::vector<float> row(static_cast<size_t>(op.V));
  std::vector<int32_t> order(row.size());
  for (int i = 0; i < op.n; ++i) {
    download(row.data(), static_cast<const float*>(op.logits) + static_cast<int64_t>(i) * op.V, sizeof(float) * row.size());
    std::iota(order.begin(), order.end(), 0);
    std::partial_sort(order.begin(), order.begin() + k, order.end(), [&](int32_t a, int32_t b) {
      return row[static_cast<size_t>(a)] != row[static_cast<size_t>(b)] ? row[static_cast<size_t>(a)] > row[static_cast<size_t>(b)] : a < b;
    });
    for (int j = 0; j < k; ++j) {
      const int32_t id = order[static_cast<size_t>(j)];
      op.top_ids[static_cast<int64_t>(i) * op.top_k + j] = id;
      op.top_logprobs[static_cast<int64_t>(i) * op.top_k + j] = row[static_cast<size_t>(id)] - op.logsumexp[i];
    }
  }
}

constexpr uint32_t kSampleTag = 0x53414d50u;  // keeps sampling apart from the other Philox streams; as on the CPU

template <class T>
void CudaBackend<T>::sample(const Sample& op) {
  const Timed timed(*this, "sample");
  if (op.n == 0) return;
  std::vector<float> uniform(static_cast<size_t>(op.n));
  for (int i = 0; i < op.n; ++i)
    uniform[static_cast<size_t>(i)] = uniform24(philox(op.rows[i].position, 0, 0, kSampleTag, op.rows[i].seed).w[0]);
  Workspace draws(*this, sizeof(float) * static_cast<size_t>(op.n));
  Workspace tokens(*this, sizeof(int32_t) * static_cast<size_t>(op.n));
  if (op.temperature > 0.0f)
    upload(draws.template as<float>(), uniform.data(), sizeof(float) * static_cast<size_t>(op.n));
  gpu::sample(stream_, tokens.template as<int32_t>(), static_cast<const float*>(op.logits), draws.template as<float>(), op.temperature, op.top_p, op.n, op.V);
  download(op.tokens.data, tokens.template as<int32_t>(), sizeof(int32_t) * static_cast<size_t>(op.n));
}

template class CudaBackend<bf16>;
template class CudaBackend<float>;

}  // namespace steerlab
