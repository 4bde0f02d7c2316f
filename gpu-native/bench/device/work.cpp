#include "work.h"

#include <cmath>

namespace steerlab::bench {
namespace {

constexpr float kMagnitudes[] = {5, 10, 20, 30};

// [0, L/3), [L/3, 2L/3), [2L/3, L - 1): the card's early, middle and late on 64 layers.
void range_of(const ModelConfig& c, int third, int32_t& start, int32_t& end) {
  start = static_cast<int32_t>(c.num_hidden_layers * third / 3);
  end = static_cast<int32_t>(third == 2 ? c.num_hidden_layers - 1 : c.num_hidden_layers * (third + 1) / 3);
}

void steer(SteeringColumns& s, const ModelConfig& c, int row, int vector, int third, float magnitude, int length) {
  int32_t start, end;
  range_of(c, third, start, end);
  s.row.push_back(row);
  s.vector.push_back(vector);
  s.layer_start.push_back(start);
  s.layer_end.push_back(end);
  s.span_start.push_back(0);
  s.span_end.push_back(length);
  s.magnitude.push_back(magnitude);
}

void add_row(ForwardRequest& q, const std::vector<int32_t>& tokens, int parent) {
  if (q.row_offsets.empty()) q.row_offsets.push_back(0);
  q.tokens.insert(q.tokens.end(), tokens.begin(), tokens.end());
  q.row_offsets.push_back(static_cast<int32_t>(q.tokens.size()));
  q.parent_row.push_back(parent);
  q.parent_cache.push_back(nullptr);
  q.row_adapter.push_back(-1);
  q.keep_cache.push_back(0);
}

std::vector<int32_t> some_tokens(Tokens& t, const ModelConfig& c, int length) {
  std::vector<int32_t> v(static_cast<size_t>(length));
  for (int32_t& x : v) x = t.next(c.vocab_size);
  return v;
}

void report_last(ForwardRequest& q, int first, int last) {
  q.report.wanted = true;
  q.report.token_offsets = {0};
  for (int r = first; r < last; ++r) {
    q.report.rows.push_back(r);
    q.report.token_ids.insert(q.report.token_ids.end(), {1, 2});
    q.report.token_offsets.push_back(static_cast<int32_t>(q.report.token_ids.size()));
  }
}

}  // namespace

std::vector<double> some_numbers(int64_t count, double scale) {
  constexpr size_t kPool = 65521;  // a prime: no row of a matrix repeats another
  Tokens t(41);
  std::vector<double> pool(kPool), out(static_cast<size_t>(count));
  for (double& v : pool) v = scale * t.normal();
  for (size_t i = 0; i < out.size(); ++i) out[i] = pool[i % kPool];
  return out;
}

std::vector<float> unit_vectors(int n, int C, uint64_t seed) {
  Tokens t(seed);
  std::vector<float> v(static_cast<size_t>(n) * static_cast<size_t>(C));
  for (int i = 0; i < n; ++i) {
    double norm = 0;
    float* row = v.data() + static_cast<size_t>(i) * static_cast<size_t>(C);
    for (int k = 0; k < C; ++k) {
      row[k] = t.normal();
      norm += static_cast<double>(row[k]) * row[k];
    }
    for (int k = 0; k < C; ++k) row[k] /= static_cast<float>(std::sqrt(norm));
  }
  return v;
}

TrainBatch train_batch(const ModelConfig& c, int examples, int context, int question) {
  Tokens t(17);
  TrainBatch b;
  b.context_offsets = b.question_offsets = {0};
  b.steering.vectors = unit_vectors(examples, c.hidden_size, 5);
  for (int i = 0; i < examples; ++i) {
    for (int k = 0; k < context; ++k) b.context_tokens.push_back(t.next(c.vocab_size));
    for (int k = 0; k < question; ++k) b.question_tokens.push_back(t.next(c.vocab_size));
    b.context_offsets.push_back(static_cast<int32_t>(b.context_tokens.size()));
    b.question_offsets.push_back(static_cast<int32_t>(b.question_tokens.size()));
    b.labels.insert(b.labels.end(), {1, 2});
    b.targets.push_back(i % 2);
    b.match_positions.push_back(0);
    b.weights.push_back(1);
    if (i % 2) steer(b.steering, c, i, i, i % 3, kMagnitudes[i % 4], context);
  }
  b.micro_batch = examples;
  return b;
}

TrainerOptions card_options() {
  TrainerOptions o;
  o.r = 16;
  o.alpha = 32;
  o.dropout = 0.05f;
  o.targets = {kQ, kK, kV, kO};
  o.seed = 1;
  o.weight_decay = 0.01;
  o.max_grad_norm = 1;
  return o;
}

ForwardRequest sweep_request(const ModelConfig& c, int concepts, int context, int question, bool share) {
  Tokens t(23);
  ForwardRequest q;
  const std::vector<int32_t> context_tokens = some_tokens(t, c, context), question_tokens = some_tokens(t, c, question);
  const int trials = concepts * 12;
  q.steering.vectors = unit_vectors(concepts, c.hidden_size, 9);
  for (int i = 0; i < trials; ++i) {
    add_row(q, context_tokens, -1);
    steer(q.steering, c, i, i / 12, i % 3, kMagnitudes[i / 3 % 4], context);
  }
  for (int i = 0; i < trials; ++i) add_row(q, question_tokens, i);
  report_last(q, trials, 2 * trials);
  q.share_layers = share;
  return q;
}

ForwardRequest context_request(const ModelConfig& c, int context) {
  Tokens t(29);
  ForwardRequest q;
  add_row(q, some_tokens(t, c, context), -1);
  q.keep_cache[0] = 1;
  return q;
}

ForwardRequest questions_request(const ModelConfig& c, const std::shared_ptr<const Cache>& cache, int questions, int length) {
  Tokens t(31);
  ForwardRequest q;
  for (int i = 0; i < questions; ++i) {
    add_row(q, some_tokens(t, c, length), -1);
    q.parent_cache.back() = cache;
  }
  report_last(q, 0, questions);
  return q;
}

GenerateRequest decode_request(const ModelConfig& c, int rows, int prompt, int tokens) {
  Tokens t(37);
  GenerateRequest g;
  for (int i = 0; i < rows; ++i) {
    add_row(g.prompt, some_tokens(t, c, prompt), -1);
    g.seeds.push_back(static_cast<uint64_t>(i));
  }
  g.max_tokens = tokens;
  g.temperature = 0.7f;
  g.top_p = 0.95f;
  return g;
}

}  // namespace steerlab::bench
