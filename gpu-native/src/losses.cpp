#include "losses.h"

#include <cmath>

namespace steerlab {

MicroBatch micro_batch(const TrainBatch& batch, int first, int count, std::shared_ptr<const Adapter> adapter) {
  MicroBatch micro;
  micro.first = first;
  micro.count = count;
  ForwardRequest& q = micro.request;
  q.adapters = {adapter, batch.context_adapter ? batch.context_adapter : adapter};
  q.row_offsets = {0};
  q.report.wanted = true;
  q.report.token_offsets = {0};
  const auto append = [&](const std::vector<int32_t>& tokens, const std::vector<int32_t>& offsets, int example) {
    const size_t e = static_cast<size_t>(example);
    q.tokens.insert(q.tokens.end(), tokens.begin() + offsets[e], tokens.begin() + offsets[e + 1]);
  };
  const auto end_row = [&](int example, int parent, int row_adapter, int reported) {
    if (reported > 0) {
      q.report.rows.push_back(q.rows());
      q.report.last.push_back(reported);
      q.report.token_offsets.push_back(0);
    }
    q.row_offsets.push_back(static_cast<int32_t>(q.tokens.size()));
    q.parent_row.push_back(parent);
    q.parent_cache.push_back(nullptr);
    q.row_adapter.push_back(row_adapter);
    q.keep_cache.push_back(0);
    micro.row_example.push_back(example);
  };
  q.steering.vectors = batch.steering.vectors;
  const auto steer_row = [&](int example, int row) {
    const SteeringColumns& s = batch.steering;
    for (size_t e = 0; e < s.row.size(); ++e) {
      if (s.row[e] != example) continue;
      q.steering.row.push_back(row);
      q.steering.vector.push_back(s.vector[e]);
      q.steering.layer_start.push_back(s.layer_start[e]);
      q.steering.layer_end.push_back(s.layer_end[e]);
      q.steering.span_start.push_back(s.span_start[e]);
      q.steering.span_end.push_back(s.span_end[e]);
      q.steering.magnitude.push_back(s.magnitude[e]);
    }
  };
  std::vector<int> context_row;  // of each example; -1 for a bare question
  for (int e = first; e < first + count; ++e) {
    const bool bare = batch.context_offsets[static_cast<size_t>(e)] == batch.context_offsets[static_cast<size_t>(e) + 1];
    context_row.push_back(bare ? -1 : q.rows());
    if (bare) continue;
    steer_row(e, q.rows());
    append(batch.context_tokens, batch.context_offsets, e);
    end_row(e, -1, batch.context_adapter ? 1 : 0, 0);
  }
  for (int e = first; e < first + count; ++e) {
    if (!batch.matches(e)) continue;
    steer_row(e, q.rows());
    append(batch.context_tokens, batch.context_offsets, e);
    append(batch.question_tokens, batch.question_offsets, e);
    end_row(e, -1, -1, batch.match_positions[static_cast<size_t>(e)]);
  }
  micro.first_question = q.rows();
  for (int e = first; e < first + count; ++e) {
    append(batch.question_tokens, batch.question_offsets, e);
    end_row(e, context_row[static_cast<size_t>(e - first)], 0, batch.matches(e) ? batch.match_positions[static_cast<size_t>(e)] : 1);
  }
  return micro;
}

Losses::Losses(Model& model, const Pass& pass, const TrainBatch& batch, const MicroBatch& micro, float mass_weight)
    : model_(model), pass_(pass), batch_(batch), micro_(micro), mass_weight_(mass_weight) {}

Losses::~Losses() {
  try {
    model_.backend().synchronize();
  } catch (...) {  // a broken device; the failure that brought us here says more
  }
}

const void* Losses::run(bool with_gradient) {
  // the first token of the questions: wanted rows from its row on are the tail's
  const int32_t tail = pass_.wanted_row(micro_.request.row_offsets[static_cast<size_t>(micro_.first_question)]);
  Group label, match;
  std::vector<int32_t> base;  // wanted rows of the base's tokens lie before the tail, in the order of the match examples
  int32_t place = 0;
  for (int e = micro_.first; e < micro_.first + micro_.count; ++e) {
    const int positions = batch_.matches(e) ? batch_.match_positions[static_cast<size_t>(e)] : 1;
    Group& group = batch_.matches(e) ? match : label;
    const double scale = batch_.weights[static_cast<size_t>(e)] / positions / batch_.examples();
    for (int k = 0; k < positions; ++k, ++place) {
      group.row.push_back(tail + place);
      group.place.push_back(place);
      group.scale.push_back(scale);
      if (batch_.matches(e)) base.push_back(static_cast<int32_t>(base.size()));
    }
  }
  const size_t row = static_cast<size_t>(model_.config().hidden_size) * bytes_of(model_.backend().act());
  Scratch& scratch = model_.scratch();
  char* grouped = with_gradient ? static_cast<char*>(scratch.get("losses.grouped", static_cast<size_t>(place) * row)) : nullptr;
  label_group(label, grouped);
  match_group(match, base, grouped ? grouped + label.row.size() * row : nullptr);
  if (!with_gradient || label.row.empty() || match.row.empty()) return grouped;

  // one group after the other -> the order of the tail
  std::vector<int32_t> from(static_cast<size_t>(place));
  for (size_t i = 0; i < label.place.size(); ++i) from[static_cast<size_t>(label.place[i])] = static_cast<int32_t>(i);
  for (size_t i = 0; i < match.place.size(); ++i) from[static_cast<size_t>(match.place[i])] = static_cast<int32_t>(label.place.size() + i);
  void* dfinal = scratch.get("losses.dfinal", static_cast<size_t>(place) * row);
  model_.backend().gather_rows({.dst = dfinal, .src = grouped, .index = scratch.upload("losses.from", from.data(), from.size()), .n = place,
                                .width = model_.config().hidden_size});
  return dfinal;
}

const double* Losses::scales(const Group& group) { return model_.scratch().upload("losses.scale", group.scale.data(), group.scale.size()); }

void Losses::backward(void* gradient, const void* dlogits, const int32_t* labels, int first, int count) {
  if (!gradient) return;
  Backend& be = model_.backend();
  const size_t at = static_cast<size_t>(first) * static_cast<size_t>(model_.config().hidden_size) * bytes_of(be.act());
  be.logits_backward({.dx = static_cast<char*>(gradient) + at, .dlogits = dlogits, .head = model_.weights().head, .labels = labels, .n = count});
}

void Losses::label_group(const Group& group, void* gradient) {
  if (group.row.empty()) return;
  std::vector<int32_t> labels, targets;
  for (int e = micro_.first; e < micro_.first + micro_.count; ++e) {
    if (batch_.matches(e)) continue;
    labels.insert(labels.end(), batch_.labels.begin() + 2 * e, batch_.labels.begin() + 2 * e + 2);
    targets.push_back(batch_.targets[static_cast<size_t>(e)]);
  }
  Scratch& scratch = model_.scratch();
  const int32_t* device_labels = scratch.upload("losses.labels", labels.data(), labels.size());
  const int32_t* device_targets = scratch.upload("losses.targets", targets.data(), targets.size());
  const double* scale = scales(group);
  labelled_.resize(group.row.size());
  model_.for_logits(pass_.final_rows(), group.row, [&](void* logits, int first, int count) {
    const int32_t* pairs = device_labels + 2 * first;
    model_.backend().label_loss({.out = {labelled_.data() + first, count}, .dlogits = gradient ? logits : nullptr, .logits = logits,
                                 .labels = pairs, .targets = device_targets + first, .scale = scale + first, .mass_weight = mass_weight_,
                                 .n = count, .V = model_.config().vocab_size});
    backward(gradient, logits, mass_weight_ == 0 ? pairs : nullptr, first, count);
  });
}

void Losses::match_group(const Group& group, const std::vector<int32_t>& base, void* gradient) {
  if (group.row.empty()) return;
  Backend& be = model_.backend();
  const int C = model_.config().hidden_size, V = model_.config().vocab_size;
  Scratch& scratch = model_.scratch();
  const int32_t* device_base = scratch.upload("losses.base", base.data(), base.size());
  const double* scale = scales(group);
  divergence_.resize(group.row.size());
  model_.for_logits(pass_.final_rows(), group.row, [&](void* logits, int first, int count) {
    void* x = scratch.get("losses.base_rows", static_cast<size_t>(count) * static_cast<size_t>(C) * bytes_of(be.act()));
    void* reference = scratch.get("losses.base_logits", static_cast<size_t>(count) * static_cast<size_t>(V) * bytes_of(be.master()));
    be.gather_rows({.dst = x, .src = pass_.final_rows(), .index = device_base + first, .n = count, .width = C});
    be.logits({.logits = reference, .x = x, .head = model_.weights().head, .n = count});
    be.match_loss({.out = {divergence_.data() + first, count}, .dlogits = gradient ? logits : nullptr, .logits = logits, .base = reference,
                   .scale = scale + first, .n = count, .V = V});
    backward(gradient, logits, nullptr, first, count);
  });
}

void Losses::append_to(BatchResult& result) const {
  size_t label = 0, position = 0;
  for (int e = micro_.first; e < micro_.first + micro_.count; ++e) {
    LabelResult r{0, {NAN, NAN}, NAN};
    if (batch_.matches(e)) {
      const int positions = batch_.match_positions[static_cast<size_t>(e)];
      for (int k = 0; k < positions; ++k) r.loss += divergence_[position++] / positions;
    } else {
      r = labelled_[label++];
    }
    result.loss.push_back(r.loss);
    result.logprob.insert(result.logprob.end(), {r.logprob[0], r.logprob[1]});
    result.logmass.push_back(r.logmass);
  }
}

}  // namespace steerlab
