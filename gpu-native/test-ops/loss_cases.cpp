// Cases of label_loss, match_loss, optimizer_step, score and sample.
#include "lab.h"

namespace ops_test {
namespace {

// Another factor for every row, device.
const double* scales(Lab& lab, int n) {
  Values v(static_cast<size_t>(n));
  for (int i = 0; i < n; ++i) v[static_cast<size_t>(i)] = 0.125 + 0.25 * i;
  return static_cast<const double*>(lab.raw(v.data(), v.size() * sizeof(double)));
}

Values label_loss(Lab& lab, int n, int V, float mass_weight, bool backward) {
  const size_t count = static_cast<size_t>(n) * V;
  void* logits = lab.master(noise(count, 60, 4));
  std::vector<int32_t> labels, targets;
  for (int i = 0; i < n; ++i) {
    labels.push_back(i % V);
    labels.push_back((i * 5 + 2) % V);
    targets.push_back(i % 2);
  }
  std::vector<LabelResult> results(static_cast<size_t>(n));
  lab.b.label_loss({.out = results, .dlogits = backward ? logits : nullptr, .logits = logits, .labels = lab.i32(labels),
                    .targets = lab.i32(targets), .scale = scales(lab, n), .mass_weight = mass_weight, .n = n, .V = V});
  lab.b.synchronize();
  Values out;
  for (const LabelResult& r : results) out.insert(out.end(), {r.loss, r.logprob[0], r.logprob[1], r.logmass});
  if (backward)
    for (double v : lab.read_master(logits, count)) out.push_back(v);
  return out;
}

// The last row equals its base.
Values match_loss(Lab& lab, int n, int V, bool backward) {
  const size_t count = static_cast<size_t>(n) * V, last = static_cast<size_t>(V);
  Values l = noise(count, 63, 4), b = noise(count, 64, 0.3);
  for (size_t i = 0; i < count; ++i) b[i] = to_float(to_bf16(static_cast<float>(b[i] + l[i])));
  std::copy(l.end() - static_cast<int64_t>(last), l.end(), b.end() - static_cast<int64_t>(last));
  void* logits = lab.master(l);
  Values out(static_cast<size_t>(n));
  lab.b.match_loss({.out = out, .dlogits = backward ? logits : nullptr, .logits = logits, .base = lab.master(b), .scale = scales(lab, n),
                    .n = n, .V = V});
  lab.b.synchronize();
  if (out.back() != 0) out.back() = NAN;
  if (backward)
    for (double v : lab.read_master(logits, count)) out.push_back(v);
  return out;
}

Values optimizer(Lab& lab, size_t count, double clip) {
  void *p = lab.master(noise(count, 61)), *m = lab.master(Values(count)), *v = lab.master(Values(count));
  Values out;
  for (int step = 1; step <= 3; ++step) {
    out.push_back(0);
    lab.b.optimizer_step({.p = p, .m = m, .v = v, .g = lab.master(noise(count, 62 + step, 0.1)), .count = count,
                          .hyper = {1e-2, 0.9, 0.999, 1e-8, 0.01, clip, step}, .norm = out.back()});
  }
  for (const void* q : {p, m, v})
    for (double x : lab.read_master(q, count)) out.push_back(x);
  return out;
}

Values score(Lab& lab, int n, int V, int k) {
  Values l = noise(static_cast<size_t>(n) * V, 70, 3);
  l[static_cast<size_t>(V) - 1] = l[0];  // a tie
  std::vector<int32_t> ids, offsets{0};
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j <= i % 3; ++j) ids.push_back((i * 11 + j) % V);
    offsets.push_back(static_cast<int32_t>(ids.size()));
  }
  std::vector<double> lse(static_cast<size_t>(n)), logprobs(ids.size()), top(static_cast<size_t>(n) * k);
  std::vector<int32_t> top_ids(static_cast<size_t>(n) * k);
  lab.b.score({.logits = lab.master(l), .n = n, .V = V, .ids = ids, .id_offsets = offsets, .top_k = k, .logsumexp = lse,
               .id_logprobs = logprobs, .top_ids = top_ids, .top_logprobs = top});
  Values out = lse;
  out.insert(out.end(), logprobs.begin(), logprobs.end());
  out.insert(out.end(), top.begin(), top.end());
  out.insert(out.end(), top_ids.begin(), top_ids.end());
  return out;
}

Values sample(Lab& lab, int n, int V, float temperature, float top_p) {
  std::vector<SampleRow> rows;
  for (int i = 0; i < n; ++i) rows.push_back({static_cast<uint64_t>(1000 + i), static_cast<uint32_t>(i)});
  std::vector<int32_t> tokens(static_cast<size_t>(n), -1);
  lab.b.sample({.tokens = tokens, .logits = lab.master(noise(static_cast<size_t>(n) * V, 71, 2)), .n = n, .V = V,
                .temperature = temperature, .top_p = top_p, .rows = rows});
  return Values(tokens.begin(), tokens.end());
}

}  // namespace

std::vector<Case> loss_cases() {
  std::vector<Case> cases;
  for (float w : {0.0f, 1.0f, 0.3f})
    for (bool backward : {true, false})
      cases.push_back({"label_loss w=" + std::to_string(w) + (backward ? " with gradient" : ""),
                       [=](Lab& lab) { return label_loss(lab, 5, 2051, w, backward); }});
  for (bool backward : {true, false})
    cases.push_back({std::string("match_loss") + (backward ? " with gradient" : ""),
                     [=](Lab& lab) { return match_loss(lab, 4, 2051, backward); }});
  for (double clip : {0.0, 1.0})
    cases.push_back({"optimizer_step clip=" + std::to_string(clip), [=](Lab& lab) { return optimizer(lab, 10007, clip); }});
  cases.push_back({"score", [](Lab& lab) { return score(lab, 4, 1003, 6); }});
  cases.push_back({"score k > V", [](Lab& lab) { return score(lab, 2, 5, 5); }});
  cases.push_back({"sample argmax", [](Lab& lab) { return sample(lab, 9, 517, 0, 1); }});
  cases.push_back({"sample", [](Lab& lab) { return sample(lab, 9, 517, 0.7f, 0.9f); }});
  return cases;
}

}  // namespace ops_test
