#include "attention.h"

#include "memory.h"

namespace steerlab::bench {

AttentionWork attention_work(Backend& b, HeadShape heads, int examples, int context, int question, int repeats) {
  const int tail = examples * question, n = examples * (context + question), first_question = n - tail;
  const int query_width = heads.H * heads.D, kv_width = heads.KVH * heads.D, width = query_width + 2 * kv_width;
  Memory memory(b);
  const void *q = memory.halves(n, width, 1), *k = memory.halves(n, kv_width, 2), *v = memory.halves(n, kv_width, 3),
             *dout = memory.halves(tail, query_width, 4);
  const auto at = [](const void* p, int row, int row_width) -> void* {
    return const_cast<uint16_t*>(static_cast<const uint16_t*>(p)) + static_cast<size_t>(row) * static_cast<size_t>(row_width);
  };
  std::vector<KvSegment> segments;
  std::vector<AttentionRow> contexts, questions;
  std::vector<int32_t> own_begin;
  for (int x = 0; x < examples; ++x) {
    const int begin = x * context, end = first_question + x * question;
    contexts.push_back({begin, context, begin, 2 * x, 1, context});
    questions.push_back({end, question, x * question, 2 * x, 2, context + question});
    segments.push_back({at(k, begin, kv_width), at(v, begin, kv_width), context, 0});
    segments.push_back({at(k, end, kv_width), at(v, end, kv_width), question, 0});
    own_begin.push_back(x * question);
  }
  const KvSegment* table = memory.table(segments);
  const AttentionCall of_contexts{examples, memory.table(contexts), table, context, context, first_question};
  const AttentionCall of_questions{examples, memory.table(questions), table, question, context + question, tail};
  const size_t out_count = static_cast<size_t>(tail) * query_width, gradient_count = static_cast<size_t>(tail) * width;
  void *context_out = memory.take(size_t{2} * n * query_width), *out = memory.take(2 * out_count), *dqkv = memory.take(2 * gradient_count);
  void* lse = memory.take(sizeof(float) * static_cast<size_t>(tail) * heads.H);
  const int32_t* begins = memory.table(own_begin);
  for (int run = 0; run < repeats; ++run) {
    b.attention({.out = context_out, .q_base = q, .ldq = width, .call = of_contexts, .heads = heads});
    b.attention({.out = out, .lse = lse, .q_base = q, .ldq = width, .call = of_questions, .heads = heads});
    b.attention_backward({.dqkv = dqkv, .n_tail = tail, .own_begin = begins, .dout = dout, .out = out, .lse = lse, .q_base = q,
                          .ldq = width, .call = of_questions, .heads = heads});
  }
  return {read_halves(b, out, out_count), read_halves(b, dqkv, gradient_count)};
}

}  // namespace steerlab::bench
