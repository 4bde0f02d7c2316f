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

void Backward::run(const void* dlogits, const int32_t* labels, const Job& job) {
  Backend& be = model.backend();
  const ModelConfig& c = model.config();
  const int C = c.hidden_size, L = c.num_hidden_layers, tail_begin = options.tail_begin, n = plan.count() - tail_begin;
  const float eps = static_cast<float>(c.rms_norm_eps);

  Rows tail{n, tail_begin, {0}, pass.token_key()};
  Rows last{examples, 0, {0}, pass.wanted_key()};
  if (options.dropout) {
    tail.key.token_example += tail_begin;
    tail.key.token_position += tail_begin;
  }
  std::vector<int32_t> last_token;
  const size_t first_question = plan.rows.size() - static_cast<size_t>(examples);
  for (int i = 0; i < examples; ++i) {
    tail.offsets.push_back(tail.offsets.back() + plan.rows[first_question + static_cast<size_t>(i)].len);
    last.offsets.push_back(i + 1);
    last_token.push_back(tail.offsets.back() - 1);
  }

  // Head and final norm, then the last block on the last positions.
  void* dlast = scratch("dlast", static_cast<int64_t>(examples) * C);
  void* dfinal = scratch("dfinal", static_cast<int64_t>(examples) * C);
  void* datt = scratch("datt", static_cast<int64_t>(n) * c.query_width());
  be.zero(dlast, static_cast<size_t>(examples) * C * bytes_of(be.act()));
  be.logits_backward(dfinal, dlogits, model.weights().head, labels, examples);
  be.norm_backward(dlast, dfinal, pass.wanted_h(), model.weights().final_norm, eps, examples, C);
  mlp(L - 1, last, pass.middle_h(L - 1), dlast);
  attention_output(L - 1, last, dlast, datt);

  void* dh = scratch("dh", static_cast<int64_t>(n) * C);
  be.zero(dh, static_cast<size_t>(n) * C * bytes_of(be.act()));
  be.scatter_add_rows(dh, dlast, model.scratch().upload("back.last_token", last_token.data(), last_token.size()), examples, C);
  attention(L - 1, tail, datt, true, dh);
  job.report(options.progress_done + L + 1, options.progress_total);

  for (int l = L - 2; l >= 0; --l) {
    job.checkpoint();
    mlp(l, tail, pass.middle_h(l), dh);
    attention_output(l, tail, dh, datt);
    attention(l, tail, datt, false, dh);
    job.report(options.progress_done + 2 * L - l, options.progress_total);
  }
}

void Backward::mlp(int l, const Rows& rows, const void* middle_h, void* dh) {
  Backend& be = model.backend();
  const ModelConfig& c = model.config();
  const int C = c.hidden_size, F = c.intermediate_size, n = rows.n;
  void* dswi = scratch("dswi", static_cast<int64_t>(n) * F);
  void* dgu = scratch("dgu", static_cast<int64_t>(n) * 2 * F);
  void* dx2 = scratch("dx", static_cast<int64_t>(n) * C);
  project(l, {kDown}, dswi, dh, C, pass.swi.at(l, rows.row0), rows);
  be.swiglu_backward(dgu, dswi, pass.gate_up.at(l, rows.row0), n, F);
  project(l, {kGate, kUp}, dx2, dgu, 2 * F, pass.x2.at(l, rows.row0), rows);
  be.norm_backward(dh, dx2, middle_h, model.weights().layers[static_cast<size_t>(l)].post_attention_norm, static_cast<float>(c.rms_norm_eps), n, C);
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
  std::vector<int32_t> own_begin(tail.offsets.begin(), tail.offsets.end() - 1);
  void* dqkv = scratch("dqkv", static_cast<int64_t>(tail.n) * width);
  const int row0 = last ? 0 : tail.row0;
  be.attention_backward(dqkv, tail.n, own_begin.data(), datt, pass.att.at(l, row0), pass.lse.at(l, row0),
                        last ? pass.wanted_q() : pass.qkv.at(l, row0), width, last ? pass.wanted_call() : pass.tail_call(l), c.heads());
  be.rope_backward(dqkv, model.cos(), model.sin(), pass.positions() + tail.row0, tail.n, c.heads());
  void* dx = first ? nullptr : scratch("dx", static_cast<int64_t>(tail.n) * C);
  project(l, {kQ, kK, kV}, dx, dqkv, width, pass.x.at(l, tail.row0), tail);
  if (!first)
    be.norm_backward(dh, dx, pass.input_h(l), model.weights().layers[static_cast<size_t>(l)].input_norm, static_cast<float>(c.rms_norm_eps), tail.n, C);
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
      LoraUse& use = uses[count];
      use.begin = 0;
      use.end = rows.n;
      use.r = pair.r;
      use.scaling = pair.scaling;
      use.dropout = options.dropout ? options.dropout->p : 0;
      use.a = pair.a;
      use.b = pair.b;
      use.u = pass.u[p].at(l, rows.row0);
      part.lora = &use;
      part.n_lora = 1;
      gradients[count] = gradient_of(l, p);
    }
    ++count;
  }
  model.backend().linear_backward(dx, dy, ldy, input, rows.n, parts, gradients, count, options.dropout ? &rows.key : nullptr,
                                  rows.offsets.data(), examples);
}

}  // namespace steerlab
