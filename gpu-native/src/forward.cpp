// Model::forward: one request -> plan -> pass -> log-probabilities, captures, caches.
#include <cmath>

#include "pass.h"

namespace steerlab {
namespace {

// Which reported row each reported position belongs to, for its chosen ids.
std::vector<int> report_row_of(const ForwardRequest& q) {
  std::vector<int> out;
  for (size_t i = 0; i < q.report.rows.size(); ++i)
    out.insert(out.end(), static_cast<size_t>(q.report.all_positions ? q.row_length(q.report.rows[i]) : 1), static_cast<int>(i));
  return out;
}

void append_full(Backend& be, const void* logits, int count, int V, const double* lse, std::vector<float>& all) {
  const size_t elements = static_cast<size_t>(count) * V;
  const auto subtract = [&](const auto* host) {
    for (int i = 0; i < count; ++i)
      for (int v = 0; v < V; ++v) all.push_back(static_cast<float>(static_cast<double>(host[static_cast<size_t>(i) * V + v]) - lse[i]));
  };
  if (be.master() == DType::F64) {
    std::vector<double> host(elements);
    be.download(host.data(), logits, elements * sizeof(double));
    subtract(host.data());
  } else {
    std::vector<float> host(elements);
    be.download(host.data(), logits, elements * sizeof(float));
    subtract(host.data());
  }
}

void score_positions(Model& model, const ForwardRequest& q, const Pass& pass, const PassPlan& plan, ForwardResult& result) {
  const ReportRequest& report = q.report;
  const int V = model.config().vocab_size;
  const size_t k = static_cast<size_t>(report.top_k);
  const std::vector<int> row_of = report_row_of(q);
  std::vector<int32_t> index;
  for (const int32_t token : plan.reported) index.push_back(pass.wanted_row(token));

  model.for_logits(pass.final_rows(), index, [&](void* logits, int first, int count) {
    std::vector<int32_t> ids, offsets{0};
    for (int i = first; i < first + count; ++i) {
      const size_t row = static_cast<size_t>(row_of[static_cast<size_t>(i)]);
      ids.insert(ids.end(), report.token_ids.begin() + report.token_offsets[row], report.token_ids.begin() + report.token_offsets[row + 1]);
      offsets.push_back(static_cast<int32_t>(ids.size()));
    }
    const size_t n = static_cast<size_t>(count), at = result.log_sum_exp.size(), at_ids = result.logprobs.size();
    result.log_sum_exp.resize(at + n);
    result.logprobs.resize(at_ids + ids.size());
    result.top_ids.resize(result.top_ids.size() + n * k);
    result.top_logprobs.resize(result.top_logprobs.size() + n * k);
    model.backend().score({.logits = logits, .n = count, .V = V, .ids = ids, .id_offsets = offsets, .top_k = report.top_k,
                           .logsumexp = {result.log_sum_exp.data() + at, count}, .id_logprobs = {result.logprobs.data() + at_ids, static_cast<int>(ids.size())},
                           .top_ids = {result.top_ids.data() + at * k, static_cast<int>(n * k)},
                           .top_logprobs = {result.top_logprobs.data() + at * k, static_cast<int>(n * k)}});
    if (report.full) append_full(model.backend(), logits, count, V, result.log_sum_exp.data() + at, result.all);
  });
}

}  // namespace

ForwardResult Model::forward(const ForwardRequest& request, const Job& job) {
  job.checkpoint();
  const PassPlan plan = make_plan(request, config_);
  Pass pass(*this, request, plan, PassOptions{});
  pass.run(job);
  ForwardResult result;
  if (request.report.wanted) score_positions(*this, request, pass, plan, result);
  result.captures = pass.captures();
  result.caches = pass.caches();
  for (const PlanRow& row : plan.rows) {
    result.token_layers += static_cast<double>(row.len) * (config_.num_hidden_layers - row.fork - 1);
    result.shared_token_layers += static_cast<double>(row.len) * (row.fork + 1);
  }
  backend().synchronize();
  return result;
}

}  // namespace steerlab
