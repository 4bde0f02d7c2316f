// Cases of attention and attention_backward.
#include "attention_lab.h"

namespace ops_test {

std::vector<Case> attention_cases() {
  const std::vector<std::vector<Sequence>> batches = {
      {{{1}, 1}}, {{{7}, 7}, {{5, 3}, 3}}, {{{42, 25}, 25}, {{10, 1, 9}, 4}, {{3, 40}, 40}}, {{{67}, 1}, {{64, 2}, 1}}, {{{200}, 200}}};
  std::vector<Case> cases;
  for (size_t i = 0; i < batches.size(); ++i)
    for (const HeadShape s : {HeadShape{4, 2, 8}, HeadShape{14, 2, 64}, HeadShape{3, 1, 40}, HeadShape{2, 2, 128}}) {
      const std::string at = " batch " + std::to_string(i) + " H=" + std::to_string(s.H) + " KVH=" + std::to_string(s.KVH) + " D=" + std::to_string(s.D);
      const auto batch = batches[i];
      cases.push_back({"attention" + at, [=](Lab& lab) { return run_attention(lab, batch, s); }});
      cases.push_back({"attention_backward" + at, [=](Lab& lab) { return run_attention_backward(lab, batch, s); }});
    }
  return cases;
}

}  // namespace ops_test
