#include "backward.h"

#include <string>

namespace steerlab {

void* Backward::scratch(const char* name, int64_t elements) {
  return model.scratch().get(std::string("back.") + name, static_cast<size_t>(elements) * bytes_of(model.backend().act()));
}

LoraGrad Backward::gradient_of(int layer, int p) const {
  LoraGrad grad;
  const size_t element = bytes_of(model.backend().master());
  for (const FlatTensor& t : layout.tensors) {
    if (t.layer != layer || t.projection != p) continue;
    (t.is_b ? grad.b : grad.a) = grads.bytes_at(static_cast<size_t>(t.offset) * element);
  }
  return grad;
}

Backward::Rows Backward::tail_of(const TokenSet& set, const char* name) {
  std::vector<int32_t> offsets{0};
  for (const AttentionRow& run : set.tail_runs) offsets.push_back(offsets.back() + run.q_len);
  Rows rows{set.n - set.tail, set.tail, static_cast<int>(set.tail_runs.size()), model.scratch().upload(name, offsets.data(), offsets.size()),
            set.key};
  if (options.dropout) {
    rows.key.token_example += set.tail;
    rows.key.token_position += set.tail;
  }
  return rows;
}

void Backward::run(const void* dfinal, const Job& job) {
  Backend& be = model.backend();
  const ModelConfig& c = model.config();
  const int C = c.hidden_size, L = c.num_hidden_layers;
  const TokenSet& wanted = pass.wanted();
  const Rows tail = tail_of(pass.all(), "back.offsets"), last = tail_of(wanted, "back.last_offsets");
  const size_t row_bytes = static_cast<size_t>(C) * bytes_of(be.act());

  // Final norm, then the last block on the wanted tokens.
  void* dlast = scratch("dlast", static_cast<int64_t>(last.n) * C);
  void* datt = scratch("datt", static_cast<int64_t>(tail.n) * c.query_width());
  be.zero(dlast, static_cast<size_t>(last.n) * row_bytes);
  be.norm_backward({.dh = dlast, .dx = dfinal, .h = static_cast<const char*>(wanted.h) + static_cast<size_t>(last.row0) * row_bytes,
                    .weight = model.weights().final_norm, .eps = static_cast<float>(c.rms_norm_eps), .n = last.n, .C = C});
  mlp(L - 1, last, dlast);
  attention_output(L - 1, last, dlast, datt);

  void* dh = scratch("dh", static_cast<int64_t>(tail.n) * C);
  be.zero(dh, static_cast<size_t>(tail.n) * row_bytes);
  std::vector<int32_t> place;  // of the wanted tokens in the tail
  for (int i = last.row0; i < wanted.n; ++i) place.push_back(plan.last_block[static_cast<size_t>(i)] - options.tail_begin);
  be.scatter_add_rows({.dst = dh, .src = dlast, .index = model.scratch().upload("back.place", place.data(), place.size()), .n = last.n,
                       .width = C});
  attention(L - 1, tail, datt, true, dh);
  job.report(options.progress_done + L + 1, options.progress_total);

  for (int l = L - 2; l >= 0; --l) {
    job.checkpoint();
    mlp(l, tail, dh);
    attention_output(l, tail, dh, datt);
    attention(l, tail, datt, false, dh);
    job.report(options.progress_done + 2 * L - l, options.progress_total);
  }
}

void Backward::mlp(int l, const Rows& rows, void* dh) {
  const ModelConfig& c = model.config();
  const int C = c.hidden_size, F = c.intermediate_size, n = rows.n;
  void* dswi = scratch("dswi", static_cast<int64_t>(n) * F);
  void* dgu = scratch("dgu", static_cast<int64_t>(n) * 2 * F);
  void* dx2 = scratch("dx", static_cast<int64_t>(n) * C);
  project(l, {kDown}, dswi, dh, C, pass.swi.at(l, rows.row0), rows);
  model.backend().swiglu_backward({.dgu = dgu, .dout = dswi, .gu = pass.gate_up.at(l, rows.row0), .n = n, .F = F});
  project(l, {kGate, kUp}, dx2, dgu, 2 * F, pass.x2.at(l, rows.row0), rows);
  model.backend().norm_backward({.dh = dh, .dx = dx2, .h = pass.middle_h(l),
                                 .weight = model.weights().layers[static_cast<size_t>(l)].post_attention_norm,
                                 .eps = static_cast<float>(c.rms_norm_eps), .n = n, .C = C});
}

void Backward::attention_output(int l, const Rows& rows, const void* dh, void* datt) {
  project(l, {kO}, datt, dh, model.config().hidden_size, pass.att.at(l, rows.row0), rows);
}

void Backward::attention(int l, const Rows& tail, const void* datt, bool last, void* dh) {
  const bool first = l == 0;
  if (first && adapter.at(l, kQ).r == 0 && adapter.at(l, kK).r == 0 && adapter.at(l, kV).r == 0) return;
  Backend& be = model.backend();
  const ModelConfig& c = model.config();
  const int C = c.hidden_size, width = c.qkv_width();
  void* dqkv = scratch("dqkv", static_cast<int64_t>(tail.n) * width);
  const TokenSet& set = last ? pass.wanted() : pass.all();
  const void* queries = last ? pass.wanted_q() : pass.qkv.at(l);
  const size_t query_bytes = static_cast<size_t>(set.tail) * static_cast<size_t>(width) * bytes_of(be.act());
  be.attention_backward({.dqkv = dqkv, .n_tail = tail.n, .own_begin = tail.offsets, .dout = datt, .out = pass.att.at(l, set.tail),
                         .lse = pass.lse.at(l, set.tail), .q_base = static_cast<const char*>(queries) + query_bytes, .ldq = width,
                         .call = set.tail_call(l), .heads = c.heads()});
  be.rope_backward({.dqkv = dqkv, .cos = model.cos(), .sin = model.sin(), .positions = pass.all().positions + tail.row0, .n = tail.n,
                    .heads = c.heads()});
  void* dx = first ? nullptr : scratch("dx", static_cast<int64_t>(tail.n) * C);
  project(l, {kQ, kK, kV}, dx, dqkv, width, pass.x.at(l, tail.row0), tail);
  if (!first)
    be.norm_backward({.dh = dh, .dx = dx, .h = pass.input_h(l), .weight = model.weights().layers[static_cast<size_t>(l)].input_norm,
                      .eps = static_cast<float>(c.rms_norm_eps), .n = tail.n, .C = C});
}

void Backward::project(int l, std::initializer_list<int> projections, void* dx, const void* dy, int ldy, const void* input, const Rows& rows) {
  LinearPart parts[3];
  LoraUse uses[3];
  LoraGrad gradients[3];
  int count = 0, column = 0;
  for (const int p : projections) {
    LinearPart& part = parts[count];
    const LoraPair& pair = adapter.at(l, p);
    part.w = &model.weights().layers[static_cast<size_t>(l)].projection[p];
    part.y_col = column;
    part.site = static_cast<uint32_t>(l * kProjections + p);
    column += part.w->out;
    if (pair.r > 0) {
      uses[count] = {0, rows.n, pair.r, pair.scaling, options.dropout ? options.dropout->p : 0, pair.a, pair.b, pass.u[p].at(l, rows.row0)};
      part.lora = {&uses[count], 1};
      gradients[count] = gradient_of(l, p);
    }
    ++count;
  }
  model.backend().linear_backward({.dx = dx, .dy = dy, .ldy = ldy, .x = input, .n = rows.n, .parts = {parts, count},
                                   .grads = {gradients, count}, .dropout = options.dropout ? &rows.key : nullptr,
                                   .example_offsets = rows.offsets, .examples = rows.examples});
}

}  // namespace steerlab
