// What C++ checks again although TypeScript has: everything that would otherwise read or write outside memory.
#include "error.h"
#include "plan.h"

namespace steerlab {
namespace {

[[noreturn]] void refuse(const std::string& code, const std::string& what, const std::string& name, long long received) {
  throw Error(code, "Expected " + what + " for " + name + " but received " + std::to_string(received) + ".");
}

void same_length(size_t got, size_t want, const char* name) {
  if (got != want) refuse("bad-request", std::to_string(want) + " elements", name, static_cast<long long>(got));
}

void index_in(int32_t value, int64_t end, const char* name, const char* code = "bad-request") {
  if (value < 0 || value >= end) refuse(code, "a value in [0, " + std::to_string(end) + ")", name, value);
}

void check_steering(const ForwardRequest& q, const ModelConfig& c) {
  const SteeringColumns& s = q.steering;
  const size_t n = s.row.size();
  same_length(s.vector.size(), n, "steering.vector");
  same_length(s.layer_start.size(), n, "steering.layerStart");
  same_length(s.layer_end.size(), n, "steering.layerEnd");
  same_length(s.span_start.size(), n, "steering.spanStart");
  same_length(s.span_end.size(), n, "steering.spanEnd");
  same_length(s.magnitude.size(), n, "steering.magnitude");
  if (s.vectors.size() % static_cast<size_t>(c.hidden_size) != 0)
    refuse("bad-request", "a multiple of hidden_size numbers", "steering.vectors", static_cast<long long>(s.vectors.size()));
  const int64_t vectors = static_cast<int64_t>(s.vectors.size()) / c.hidden_size;
  for (size_t i = 0; i < n; ++i) {
    index_in(s.row[i], q.rows(), "steering.row");
    index_in(s.vector[i], vectors, "steering.vector");
    if (s.layer_start[i] < 0 || s.layer_end[i] > c.num_hidden_layers || s.layer_start[i] > s.layer_end[i])
      refuse("bad-layer", "0 <= layerStart <= layerEnd <= " + std::to_string(c.num_hidden_layers), "steering.layerEnd", s.layer_end[i]);
    const int length = q.row_length(s.row[i]);
    if (s.span_start[i] < 0 || s.span_end[i] > length || s.span_start[i] > s.span_end[i])
      refuse("bad-span", "0 <= spanStart <= spanEnd <= " + std::to_string(length), "steering.spanEnd", s.span_end[i]);
  }
}

void check_report(const ForwardRequest& q, const ModelConfig& c) {
  const ReportRequest& r = q.report;
  if (!r.wanted) return;
  same_length(r.token_offsets.size(), r.rows.size() + 1, "report.tokenOffsets");
  for (const int32_t row : r.rows) index_in(row, q.rows(), "report.rows");
  if (!r.last.empty()) same_length(r.last.size(), r.rows.size(), "report.last");
  for (size_t i = 0; i < r.last.size(); ++i) index_in(r.last[i] - 1, q.row_length(r.rows[i]), "report.last - 1");
  if (r.token_offsets.front() != 0 || r.token_offsets.back() != static_cast<int32_t>(r.token_ids.size()))
    refuse("bad-request", "offsets from 0 to the number of ids", "report.tokenOffsets", r.token_offsets.back());
  for (size_t i = 1; i < r.token_offsets.size(); ++i)
    if (r.token_offsets[i] < r.token_offsets[i - 1]) refuse("bad-request", "rising offsets", "report.tokenOffsets", r.token_offsets[i]);
  for (const int32_t id : r.token_ids) index_in(id, c.vocab_size, "report.tokenIds", "bad-token");
  if (r.top_k < 0 || r.top_k > c.vocab_size) refuse("bad-request", "0 <= topK <= vocab_size", "report.topK", r.top_k);
}

}  // namespace

void check_request(const ForwardRequest& q, const ModelConfig& c) {
  if (q.row_offsets.size() < 2) refuse("bad-request", "at least one row", "rowOffsets", static_cast<long long>(q.row_offsets.size()));
  const size_t rows = q.row_offsets.size() - 1;
  same_length(q.parent_row.size(), rows, "parentRow");
  same_length(q.parent_cache.size(), rows, "parentCache");
  same_length(q.row_adapter.size(), rows, "rowAdapter");
  same_length(q.keep_cache.size(), rows, "keepCache");
  if (q.row_offsets.front() != 0 || q.row_offsets.back() != static_cast<int32_t>(q.tokens.size()))
    refuse("bad-request", "offsets from 0 to the number of tokens", "rowOffsets", q.row_offsets.back());
  for (size_t r = 0; r < rows; ++r) {
    if (q.row_offsets[r + 1] <= q.row_offsets[r]) refuse("bad-request", "at least one token", "row", static_cast<long long>(r));
    if (q.parent_row[r] >= static_cast<int32_t>(r) || q.parent_row[r] < -1)
      refuse("bad-request", "an earlier row or -1", "parentRow", q.parent_row[r]);
    if (q.parent_row[r] >= 0 && q.parent_cache[r]) refuse("bad-request", "parentRow or parentCache, not both,", "row", static_cast<long long>(r));
    if (q.row_adapter[r] < -1 || q.row_adapter[r] >= static_cast<int32_t>(q.adapters.size()))
      refuse("bad-request", "an index into adapters or -1", "rowAdapter", q.row_adapter[r]);
    if (q.parent_cache[r] && static_cast<int>(q.parent_cache[r]->layers.size()) != c.num_hidden_layers)
      refuse("bad-request", "a cache of this model", "parentCache of row", static_cast<long long>(r));
  }
  for (const int32_t token : q.tokens) index_in(token, c.vocab_size, "token", "bad-token");
  check_steering(q, c);
  check_report(q, c);
  if (q.capture.wanted) {
    for (const int32_t row : q.capture.rows) index_in(row, q.rows(), "capture.rows");
    for (const int32_t layer : q.capture.layers) index_in(layer, c.num_hidden_layers, "capture.layers", "bad-layer");
  }
}

}  // namespace steerlab
