// Losses, AdamW, scoring and sampling against their twins.
#include "twin.h"

namespace twin {
namespace {

void label_loss(Twin& t) {
  for (const int V : {5, 1031})
    for (const float mass : {0.0f, 0.3f, 1.0f})
      for (const bool in_place : {false, true}) {
        const int n = 7;
        Buffer logits = t.floats(static_cast<size_t>(n * V), 3);
        Buffer d = in_place ? logits : t.poisoned(static_cast<size_t>(n * V), DType::F32);
        std::vector<int32_t> label, target;
        for (int i = 0; i < n; ++i) {
          label.insert(label.end(), {i % V, (i + 1 + i % 3) % V});
          target.push_back(i % 2);
        }
        const auto labels = t.table(label), targets = t.table(target);
        const auto scale = t.table(std::vector<double>{0.125, 1, 2, 0.5, 0, 0.3, 3});
        std::vector<LabelResult> a(static_cast<size_t>(n)), b(static_cast<size_t>(n)), only(static_cast<size_t>(n));
        t.gpu.label_loss({.out = only, .logits = logits.gpu, .labels = labels.second, .targets = targets.second, .scale = scale.second,
                          .mass_weight = mass, .n = n, .V = V});
        t.cpu.label_loss({.out = a, .dlogits = d.cpu, .logits = logits.cpu, .labels = labels.first, .targets = targets.first,
                          .scale = scale.first, .mass_weight = mass, .n = n, .V = V});
        t.gpu.label_loss({.out = b, .dlogits = d.gpu, .logits = logits.gpu, .labels = labels.second, .targets = targets.second,
                          .scale = scale.second, .mass_weight = mass, .n = n, .V = V});
        t.gpu.synchronize();
        double worst = 0;
        for (size_t i = 0; i < a.size(); ++i)
          for (const LabelResult& g : {b[i], only[i]})
            for (const double e : {g.loss - a[i].loss, g.logprob[0] - a[i].logprob[0], g.logprob[1] - a[i].logprob[1], g.logmass - a[i].logmass})
              worst = std::isnan(e) ? e : std::max(worst, std::abs(e));
        const std::string at = "V" + std::to_string(V) + "_mass" + std::to_string(mass).substr(0, 3) + (in_place ? "_in_place" : "");
        t.note(at, worst, 2e-6);
        t.compare(at + "_gradient", d, 1e-5);
      }
}

void match_loss(Twin& t) {
  for (const int V : {5, 1031})
    for (const bool in_place : {false, true}) {
      const int n = 5;
      std::vector<float> base = t.random.normals(static_cast<size_t>(n * V), 3), moved = base;
      for (int i = 0; i < (n - 1) * V; ++i) moved[static_cast<size_t>(i)] += 0.3f * t.random.normal();  // the last row equals its base
      const Buffer reference = t.from(base, DType::F32), logits = t.from(moved, DType::F32);
      const Buffer d = in_place ? logits : t.poisoned(static_cast<size_t>(n * V), DType::F32);
      const auto scale = t.table(std::vector<double>{0.125, 1, 2, 0, 3});
      std::vector<double> a(static_cast<size_t>(n)), b(a), only(a);
      t.gpu.match_loss({.out = only, .logits = logits.gpu, .base = reference.gpu, .scale = scale.second, .n = n, .V = V});
      t.cpu.match_loss({.out = a, .dlogits = d.cpu, .logits = logits.cpu, .base = reference.cpu, .scale = scale.first, .n = n, .V = V});
      t.gpu.match_loss({.out = b, .dlogits = d.gpu, .logits = logits.gpu, .base = reference.gpu, .scale = scale.second, .n = n, .V = V});
      t.gpu.synchronize();
      double worst = 0;
      for (size_t i = 0; i < a.size(); ++i)
        for (const double e : {b[i] - a[i], only[i] - a[i]}) worst = std::isnan(e) ? e : std::max(worst, std::abs(e));
      const std::string at = "V" + std::to_string(V) + (in_place ? "_in_place" : "");
      t.note(at, worst, 2e-7);
      t.compare(at + "_gradient", d, 1e-5);
      const std::vector<float> last = t.read(t.gpu, static_cast<const float*>(d.gpu) + (n - 1) * V, static_cast<size_t>(V), DType::F32);
      t.expect(at + "_equal_rows", b.back() == 0 && *std::max_element(last.begin(), last.end()) == 0);
    }
}

void optimizer(Twin& t) {
  for (const size_t n : {size_t(1), size_t(5000), size_t(9001)})
    for (const double clip : {0.0, 0.5}) {
      Buffer p = t.floats(n), m = t.from(std::vector<float>(n, 0), DType::F32), v = t.from(std::vector<float>(n, 0), DType::F32);
      double worst = 0;
      for (int step = 1; step <= 12; ++step) {
        const Buffer g = t.floats(n, 0.1f);
        const AdamW hyper{1e-3, 0.9, 0.999, 1e-8, 0.01, clip, step};
        double a = 0, b = 0;
        t.cpu.optimizer_step({.p = p.cpu, .m = m.cpu, .v = v.cpu, .g = g.cpu, .count = n, .hyper = hyper, .norm = a});
        t.gpu.optimizer_step({.p = p.gpu, .m = m.gpu, .v = v.gpu, .g = g.gpu, .count = n, .hyper = hyper, .norm = b});
        worst = std::max(worst, std::abs(a - b) / a);
      }
      const std::string at = "n" + std::to_string(n) + (clip > 0 ? "_clip" : "");
      t.note(at + "_norm", worst, 1e-12);
      t.compare(at + "_p", p, 1e-6);
      t.compare(at + "_m", m, 1e-6);
      t.compare(at + "_v", v, 1e-6);
    }
}

void score(Twin& t) {
  for (const int V : {3, 700, 5000}) {
    const int n = 5;
    std::vector<float> values = t.random.normals(static_cast<size_t>(n * V), 2);
    if (V > 3)  // equal logits: the lower id comes first
      for (int i = 0; i < n; ++i) values[static_cast<size_t>(i * V + 17)] = values[static_cast<size_t>(i * V + 400)] = 9.0f;
    const Buffer logits = t.from(values, DType::F32);
    const std::vector<int32_t> ids{0, 1, 2, 2, 1}, offsets{0, 2, 2, 3, 3, 5};
    for (const int k : {0, 1, 2, 20, 1500}) {
      const size_t tops = static_cast<size_t>(n * std::max(k, 1));
      std::vector<double> la(5), lb(5), ia(5), ib(5), pa(tops, -1), pb(tops, -1);
      std::vector<int32_t> ta(tops, -1), tb(tops, -1);
      t.cpu.score({.logits = logits.cpu, .n = n, .V = V, .ids = ids, .id_offsets = offsets, .top_k = k, .logsumexp = la,
                   .id_logprobs = ia, .top_ids = ta, .top_logprobs = pa});
      t.gpu.score({.logits = logits.gpu, .n = n, .V = V, .ids = ids, .id_offsets = offsets, .top_k = k, .logsumexp = lb,
                   .id_logprobs = ib, .top_ids = tb, .top_logprobs = pb});
      double worst = 0;
      for (size_t i = 0; i < 5; ++i) worst = std::max({worst, std::abs(la[i] - lb[i]), std::abs(ia[i] - ib[i])});
      const int real = std::min(k, V);
      bool same = true;
      for (int i = 0; i < n; ++i)
        for (int j = 0; j < real; ++j) {
          const size_t at = static_cast<size_t>(i * k + j);
          same = same && ta[at] == tb[at];
          worst = std::max(worst, std::abs(pa[at] - pb[at]));
        }
      const std::string at = "V" + std::to_string(V) + "_k" + std::to_string(k);
      t.note(at, worst, 2e-6);
      t.expect(at + "_order", same);
    }
  }
}

// One draw in 16 million may fall on the other side of a boundary: 24-bit uniforms against sums that differ near 1e-7.
void sample(Twin& t) {
  for (const float temperature : {0.0f, 0.7f, 1.5f})
    for (const float top_p : {1.0f, 0.9f, 0.05f}) {
      const int n = 24, V = temperature > 1 ? 300 : 2100;  // below and above the threads of a block
      std::vector<float> values = t.random.normals(static_cast<size_t>(n * V), 2);
      for (int i = 0; i < n; ++i) values[static_cast<size_t>(i * V + 5)] = values[static_cast<size_t>(i * V + 200)] = 5.0f;
      const float broken[] = {NAN, -NAN, INFINITY};  // rows 0, 1, 2 have no token
      for (int i = 0; i < 3; ++i) values[static_cast<size_t>(i * V + 250)] = broken[i];
      for (int c = 0; c < V; ++c) values[static_cast<size_t>(3 * V + c)] = -INFINITY;
      const Buffer logits = t.from(values, DType::F32);
      std::vector<SampleRow> rows;
      for (int i = 0; i < n; ++i) rows.push_back({static_cast<uint64_t>(i) * 1234567u, static_cast<uint32_t>(i)});
      std::vector<int32_t> a(static_cast<size_t>(n)), b(static_cast<size_t>(n), -1);
      t.cpu.sample({.tokens = a, .logits = logits.cpu, .n = n, .V = V, .temperature = temperature, .top_p = top_p, .rows = rows});
      t.gpu.sample({.tokens = b, .logits = logits.gpu, .n = n, .V = V, .temperature = temperature, .top_p = top_p, .rows = rows});
      t.expect("T" + std::to_string(temperature).substr(0, 3) + "_p" + std::to_string(top_p).substr(0, 4), a == b);
      for (size_t i = 0; i < b.size(); ++i) t.expect("row_" + std::to_string(i) + (i < 4 ? "_none" : "_token"), (b[i] == kNoToken) == (i < 4));
    }
}

}  // namespace

std::vector<Case> loss_cases() { return {{"label_loss", label_loss}, {"match_loss", match_loss}, {"optimizer", optimizer}, {"score", score}, {"sample", sample}}; }

}  // namespace twin
