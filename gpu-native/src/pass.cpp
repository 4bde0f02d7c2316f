#include "pass.h"

#include <algorithm>
#include <numeric>
#include <string>

namespace steerlab {

Pass::Pass(Model& model, const ForwardRequest& request, const PassPlan& plan, const PassOptions& options)
    : model_(model), be_(model.backend()), scratch_(model.scratch()), request_(request), plan_(plan), options_(options), c_(model.config()) {
  prepare_tables();
  allocate();
  std::vector<int32_t> tokens(static_cast<size_t>(plan_.count()));
  std::iota(tokens.begin(), tokens.end(), 0);
  all_ = token_set("pass", tokens, 0);
  all_.h = h_;
  const std::vector<int32_t>& wanted = plan_.last_block;
  if (!plan_.last_block_all && !wanted.empty()) {
    wanted_ = token_set("wanted", wanted, c_.num_hidden_layers - 1);
    wanted_.h = scratch_.get("wanted.h", act_bytes(static_cast<int64_t>(wanted_.n) * c_.hidden_size));
    wanted_q_ = scratch_.get("wanted.q", act_bytes(static_cast<int64_t>(wanted_.n) * c_.qkv_width()));
    wanted_tokens_ = scratch_.upload("wanted.tokens", wanted.data(), wanted.size());
  }
  prepare_storage();
  prepare_captures();
}

int Pass::wanted_row(int32_t token) const {
  const auto at = std::lower_bound(plan_.last_block.begin(), plan_.last_block.end(), token);
  return static_cast<int>(at - plan_.last_block.begin());
}

void* Pass::saved_h(void* base, int layer) const {
  return static_cast<char*>(base) + act_bytes(static_cast<int64_t>(layer) * tail() * c_.hidden_size);
}

void Pass::run(const Job& job) {
  const double total = options_.progress_total > 0 ? options_.progress_total : c_.num_hidden_layers;
  const int n = plan_.tokens_after(-1);
  be_.embed({.h = h_, .table = model_.weights().embed, .tokens = tokens_, .n = n});
  be_.residual_norm({.h = h_, .x = x.at(0), .weight = model_.weights().layers[0].input_norm, .eps = static_cast<float>(c_.rms_norm_eps),
                     .n = n, .C = c_.hidden_size});
  for (int l = 0; l < c_.num_hidden_layers; ++l) {
    job.checkpoint();
    block(l);
    job.report(options_.progress_done + l + 1, total);
  }
}

void Pass::block(int l) {
  const LayerWeights& w = model_.weights().layers[static_cast<size_t>(l)];
  const int C = c_.hidden_size, last = c_.num_hidden_layers - 1;
  const float eps = static_cast<float>(c_.rms_norm_eps);
  const auto save_tail = [&](void* to, const TokenSet& set) {
    const size_t from = act_bytes(static_cast<int64_t>(set.tail) * C);
    if (saving()) be_.copy(to, static_cast<char*>(set.h) + from, act_bytes(static_cast<int64_t>(set.n - set.tail) * C));
  };
  const size_t kv_layer = static_cast<size_t>(l) * target_.layer_bytes;
  int n = plan_.tokens_after(l - 1);

  save_tail(input_h(l), all_);
  project(l, {kQ, kK, kV}, qkv.at(l), c_.qkv_width(), x.at(l), n, all_);
  be_.rope_store({.qkv = qkv.at(l), .k_new = static_cast<char*>(target_.k) + kv_layer, .v_new = static_cast<char*>(target_.v) + kv_layer,
                  .cos = model_.cos(), .sin = model_.sin(), .positions = all_.positions, .slot = slots_, .n = n, .heads = c_.heads()});
  store_blocks(l);

  const TokenSet& set = l == last ? wanted() : all_;
  const void* queries = qkv.at(l);
  AttentionCall call = all_.call(l, plan_.rows_after(l - 1));
  if (&set == &wanted_) {
    if (plan_.last_block.empty()) return;
    n = wanted_.n;
    be_.gather_rows({.dst = wanted_.h, .src = h_, .index = wanted_tokens_, .n = n, .width = C});
    be_.gather_rows({.dst = wanted_q_, .src = qkv.at(l), .index = wanted_tokens_, .n = n, .width = c_.qkv_width()});
    queries = wanted_q_;
    call = wanted_.call(l, static_cast<int>(wanted_.runs.size()));
  }

  be_.attention({.out = att.at(l), .lse = saving() ? lse.at(l) : nullptr, .q_base = queries, .ldq = c_.qkv_width(), .call = call,
                 .heads = c_.heads()});
  project(l, {kO}, delta_, C, att.at(l), n, set);
  be_.residual_norm({.h = set.h, .delta = delta_, .x = x2.at(l), .weight = w.post_attention_norm, .eps = eps, .n = n, .C = C});
  save_tail(middle_h(l), set);
  const bool end = l == last;
  mlp_and_residual(l, set, n, end ? n : plan_.tokens_after(l), end ? final_x_ : x.at(l + 1),
                   end ? model_.weights().final_norm : model_.weights().layers[static_cast<size_t>(l) + 1].input_norm);
  capture(l, set.h);
}

void Pass::mlp_and_residual(int l, const TokenSet& set, int n, int n_after, void* next_x, const float* next_norm) {
  const int C = c_.hidden_size, F = c_.intermediate_size;
  project(l, {kGate, kUp}, gate_up.at(l), 2 * F, x2.at(l), n, set);
  be_.swiglu({.out = swi.at(l), .gu = gate_up.at(l), .n = n, .F = F});
  project(l, {kDown}, delta_, C, swi.at(l), n, set);
  if (n_after > n) {
    // Rows that differ from here on take their leader's stream, before this block's steering is added.
    const size_t at = act_bytes(static_cast<int64_t>(n) * C);
    for (void* stream : {set.h, delta_})
      be_.gather_rows({.dst = static_cast<char*>(stream) + at, .src = stream, .index = leader_tokens_ + n, .n = n_after - n, .width = C});
  }
  be_.residual_norm({.h = set.h, .delta = delta_, .steer = plan_.steered_layer[static_cast<size_t>(l)] ? &set.steer : nullptr, .layer = l,
                     .x = next_x, .weight = next_norm, .eps = static_cast<float>(c_.rms_norm_eps), .n = n_after, .C = C});
}

void Pass::project(int l, const std::vector<int>& projections, void* y, int ldy, const void* input, int n, const TokenSet& set) {
  LinearPart parts[3];
  std::vector<LoraUse> uses[3];
  int column = 0, count = 0;
  for (const int p : projections) {
    LinearPart& part = parts[count];
    part.w = &model_.weights().layers[static_cast<size_t>(l)].projection[p];
    part.y_col = column;
    part.site = static_cast<uint32_t>(l * kProjections + p);
    column += part.w->out;
    for (const LoraRange& range : set.lora) {
      const LoraPair& pair = request_.adapters[static_cast<size_t>(range.adapter)]->at(l, p);
      const int end = std::min(range.end, n);
      if (pair.r == 0 || range.begin >= end) continue;
      uses[count].push_back({range.begin, end, pair.r, pair.scaling, options_.dropout ? options_.dropout->p : 0, pair.a, pair.b,
                             u[p].at(l, range.begin), pair.bias});
    }
    part.lora = uses[count];
    ++count;
  }
  be_.linear({.y = y, .ldy = ldy, .x = input, .n = n, .parts = {parts, count}, .dropout = options_.dropout ? &set.key : nullptr});
}

// The keys and values of rows whose cache is kept leave the workspace before the next block overwrites it.
void Pass::store_blocks(int l) {
  const size_t width = act_bytes(c_.kv_width());
  const int active = plan_.rows_after(l - 1);
  for (int r = 0; r < active; ++r) {
    const size_t i = static_cast<size_t>(r);
    if (!stores_[i] || l < store_first_[i] || l >= store_end_[i]) continue;
    const size_t from = static_cast<size_t>(l) * target_.layer_bytes + static_cast<size_t>(target_.slot_base[i] + target_.held[i]) * width;
    const size_t bytes = static_cast<size_t>(plan_.rows[i].len) * width;
    be_.copy(stores_[i]->k(l), static_cast<const char*>(target_.k) + from, bytes);
    be_.copy(stores_[i]->v(l), static_cast<const char*>(target_.v) + from, bytes);
  }
}

void Pass::capture(int l, const void* h) {
  const std::vector<int32_t>& layers = request_.capture.layers;
  if (!request_.capture.wanted || std::find(layers.begin(), layers.end(), l) == layers.end()) return;
  const bool pruned = l == c_.num_hidden_layers - 1 && !plan_.last_block_all;
  std::vector<int32_t> index;
  for (const int32_t token : plan_.captured) {
    const int row = plan_.token_row[static_cast<size_t>(token)];
    const PlanRow& carrier = plan_.rows[static_cast<size_t>(plan_.carrier(row, l + 1))];
    index.push_back(pruned ? wanted_row(token) : carrier.begin + token - plan_.rows[static_cast<size_t>(row)].begin);
  }
  const int C = c_.hidden_size, count = static_cast<int>(index.size());
  const int32_t* device_index = scratch_.upload("capture.index", index.data(), index.size());
  void* rows = scratch_.get("capture.rows", act_bytes(static_cast<int64_t>(count) * C));
  be_.gather_rows({.dst = rows, .src = h, .index = device_index, .n = count, .width = C});
  const size_t elements = static_cast<size_t>(count) * C;
  for (size_t i = 0; i < layers.size(); ++i)
    if (layers[i] == l) be_.to_f32({.dst = static_cast<float*>(captured_.get()) + i * elements, .src = rows, .count = elements});
}

std::vector<float> Pass::captures() const {
  if (!captured_.get()) return {};
  const size_t layers = request_.capture.layers.size(), C = static_cast<size_t>(c_.hidden_size), positions = plan_.captured.size();
  std::vector<float> by_layer(layers * positions * C), out(by_layer.size());
  if (by_layer.empty()) return out;
  be_.download(by_layer.data(), captured_.get(), by_layer.size() * sizeof(float));
  for (size_t l = 0; l < layers; ++l)
    for (size_t p = 0; p < positions; ++p)
      std::copy_n(&by_layer[(l * positions + p) * C], C, &out[(p * layers + l) * C]);
  return out;
}

std::vector<std::shared_ptr<Cache>> Pass::caches() const {
  std::vector<std::shared_ptr<Cache>> out(static_cast<size_t>(request_.rows()));
  for (size_t r = 0; r < out.size(); ++r) {
    if (!request_.keep_cache[r]) continue;
    const int packed = plan_.packed_of[r];
    std::vector<int> chain;  // from the root to the row
    for (int at = packed; at >= 0; at = plan_.rows[static_cast<size_t>(at)].parent) chain.insert(chain.begin(), at);
    auto cache = std::make_shared<Cache>();
    const PlanRow& row = plan_.rows[static_cast<size_t>(packed)];
    cache->length = row.first_position + row.len;
    cache->layers.resize(static_cast<size_t>(c_.num_hidden_layers));
    const Cache* prefix = plan_.rows[static_cast<size_t>(chain.front())].prefix;
    for (int l = 0; l < c_.num_hidden_layers; ++l) {
      auto& blocks = cache->layers[static_cast<size_t>(l)];
      if (prefix) blocks = prefix->layers[static_cast<size_t>(l)];
      for (const int at : chain) blocks.push_back(stores_[static_cast<size_t>(plan_.carrier(at, l))]->block(l));
    }
    cache->own_bytes = stores_[static_cast<size_t>(packed)] ? stores_[static_cast<size_t>(packed)]->bytes() : 0;
    if (cache->layers[0].size() > static_cast<size_t>(kMaxChain)) compact(*cache, model_.memory(), c_);
    out[r] = std::move(cache);
  }
  return out;
}

}  // namespace steerlab
