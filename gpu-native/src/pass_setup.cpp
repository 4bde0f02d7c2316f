// The preparations of a Pass: device tables, workspaces, attention rows, room for kept keys and values.
#include <algorithm>
#include <string>

#include "pass.h"

namespace steerlab {

void Pass::prepare_tables() {
  tokens_ = scratch_.upload("pass.tokens", plan_.tokens.data(), plan_.tokens.size());
  positions_ = scratch_.upload("pass.positions", plan_.positions.data(), plan_.positions.size());
  if (!plan_.entries.empty()) {
    const int C = c_.hidden_size;
    steer_.token_row = scratch_.upload("pass.token_row", plan_.token_row.data(), plan_.token_row.size());
    steer_.row_offsets = scratch_.upload("pass.entry_offsets", plan_.entry_offsets.data(), plan_.entry_offsets.size());
    steer_.entries = scratch_.upload("pass.entries", plan_.entries.data(), plan_.entries.size());
    steer_.vectors = scratch_.upload("pass.vectors", request_.steering.vectors.data(), request_.steering.vectors.size() / C * C);
  }
  if (plan_.tokens_after(-1) < plan_.count()) {
    std::vector<int32_t> leader_tokens;
    for (const PlanRow& row : plan_.rows)
      for (int i = 0; i < row.len; ++i) leader_tokens.push_back(plan_.rows[static_cast<size_t>(row.leader)].begin + i);
    leader_tokens_ = scratch_.upload("pass.leader_tokens", leader_tokens.data(), leader_tokens.size());
  }
  if (options_.dropout) {
    const Dropout& d = *options_.dropout;
    token_key_ = {d.seed, d.step, scratch_.upload("pass.example", d.token_example.data(), d.token_example.size()), positions_};
  }
  std::vector<int32_t> all(static_cast<size_t>(plan_.count()));
  for (size_t t = 0; t < all.size(); ++t) all[t] = static_cast<int32_t>(t);
  lora_ = ranges_of(all);
  for (const LoraRange& range : lora_)
    max_rank_ = std::max(max_rank_, request_.adapters[static_cast<size_t>(range.adapter)]->max_rank);
}

std::vector<LoraRange> Pass::ranges_of(const std::vector<int32_t>& tokens) const {
  std::vector<LoraRange> out;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const int adapter = plan_.rows[static_cast<size_t>(plan_.token_row[static_cast<size_t>(tokens[i])])].adapter;
    const int at = static_cast<int>(i);
    if (adapter < 0) continue;
    if (!out.empty() && out.back().end == at && out.back().adapter == adapter) out.back().end = at + 1;
    else out.push_back({at, at + 1, adapter});
  }
  return out;
}

void Pass::allocate() {
  const int N = plan_.count(), L = c_.num_hidden_layers, C = c_.hidden_size, F = c_.intermediate_size;
  const size_t act = bytes_of(be_.act()), master = bytes_of(be_.master());
  const std::string mode = saving() ? "train." : "pass.";
  const auto arena = [&](const char* name, int64_t width, size_t element) {
    Arena a;
    a.row_bytes = static_cast<size_t>(width) * element;
    a.layers = L;
    a.shift = tail();
    a.base = static_cast<char*>(scratch_.get(mode + name, (static_cast<size_t>(N) + static_cast<size_t>(L - 1) * tail()) * a.row_bytes));
    return a;
  };
  x = arena("x", C, act);
  qkv = arena("qkv", c_.qkv_width(), act);
  att = arena("att", c_.query_width(), act);
  x2 = arena("x2", C, act);
  gate_up = arena("gate_up", 2 * F, act);
  swi = arena("swi", F, act);
  if (saving()) lse = arena("lse", c_.num_attention_heads, master);
  if (max_rank_ > 0)
    for (int p = 0; p < kProjections; ++p) u[p] = arena((std::string("u.") + kProjectionInfo[p].name).c_str(), max_rank_, master);

  const size_t stream = act_bytes(static_cast<int64_t>(N) * C);
  h_ = scratch_.get(mode + "h", stream);
  delta_ = scratch_.get(mode + "delta", stream);
  final_x_ = scratch_.get(mode + "final", std::max<size_t>(1, plan_.last_block.size()) * act_bytes(C));
  if (saving()) {
    const size_t rows = static_cast<size_t>(std::max(tail(), wanted_count()));
    input_h_ = scratch_.get("train.input_h", static_cast<size_t>(L) * tail() * act_bytes(C));
    middle_h_ = scratch_.get("train.middle_h", (static_cast<size_t>(L - 1) * tail() + rows) * act_bytes(C));
  }

  if (options_.target) {
    target_ = *options_.target;
    std::vector<int32_t> slots;
    for (size_t r = 0; r < plan_.rows.size(); ++r)
      for (int i = 0; i < plan_.rows[r].len; ++i) slots.push_back(target_.slot_base[r] + target_.held[r] + i);
    slots_ = scratch_.upload("pass.slots", slots.data(), slots.size());
    return;
  }
  // Training differentiates attention against the keys and values of every layer: they all stay.
  const size_t half = act_bytes(static_cast<int64_t>(N) * c_.kv_width());
  const size_t layers = saving() ? static_cast<size_t>(L) : 1;
  target_.k = scratch_.get(mode + "k", half * layers);
  target_.v = scratch_.get(mode + "v", half * layers);
  target_.layer_bytes = saving() ? half : 0;
  for (const PlanRow& row : plan_.rows) target_.slot_base.push_back(row.begin);
  target_.held.assign(plan_.rows.size(), 0);
}

std::vector<KvSegment> Pass::segments_of(int layer, int row, int own_len) const {
  const size_t width = act_bytes(c_.kv_width());
  std::vector<int> chain;
  for (int at = row; at >= 0; at = plan_.rows[static_cast<size_t>(at)].parent) chain.push_back(at);
  std::vector<KvSegment> out;
  if (const Cache* prefix = plan_.rows[static_cast<size_t>(chain.back())].prefix)
    for (const KvBlock& block : prefix->layers[static_cast<size_t>(layer)]) out.push_back({block.k, block.v, block.len, 0});
  for (auto at = chain.rbegin(); at != chain.rend(); ++at) {
    const size_t carrier = static_cast<size_t>(plan_.carrier(*at, layer));
    const size_t from =
        static_cast<size_t>(layer) * target_.layer_bytes + static_cast<size_t>(target_.slot_base[carrier]) * width;
    const int len = *at == row ? own_len : plan_.rows[static_cast<size_t>(*at)].len;
    out.push_back({static_cast<const char*>(target_.k) + from, static_cast<const char*>(target_.v) + from, target_.held[carrier] + len, 0});
  }
  return out;
}

// A row has as many segments in one layer as in any other, so one table of rows serves all layers.
void Pass::prepare_attention() {
  std::vector<KvSegment> table;
  for (int l = 0; l < c_.num_hidden_layers; ++l) {
    for (int r = 0; r < static_cast<int>(plan_.rows.size()); ++r) {
      const PlanRow& row = plan_.rows[static_cast<size_t>(r)];
      const std::vector<KvSegment> segments = segments_of(l, r, row.len);
      if (l == 0) {
        int kv_len = 0;
        for (const KvSegment& s : segments) kv_len += s.len;
        host_rows_.push_back({row.begin, row.len, row.begin, static_cast<int32_t>(table.size()), static_cast<int32_t>(segments.size()), kv_len});
      }
      table.insert(table.end(), segments.begin(), segments.end());
    }
    if (l == 0) segments_per_layer_ = static_cast<int>(table.size());
  }
  segments_ = scratch_.upload("pass.segments", table.data(), table.size());
  attention_rows_ = scratch_.upload("pass.attention_rows", host_rows_.data(), host_rows_.size());
  if (!saving()) return;
  for (const AttentionRow& row : host_rows_) {
    if (row.q_row < options_.tail_begin) continue;
    host_tail_.push_back(row);
    host_tail_.back().q_row -= options_.tail_begin;
    host_tail_.back().out_row -= options_.tail_begin;
  }
  tail_rows_ = scratch_.upload("pass.tail_rows", host_tail_.data(), host_tail_.size());
}

namespace {
AttentionCall bounded(const std::vector<AttentionRow>& host, int count, const AttentionRow* rows, const KvSegment* segments) {
  AttentionCall call;
  call.n_rows = count;
  call.rows = rows;
  call.segments = segments;
  for (int r = 0; r < count; ++r) {
    const AttentionRow& row = host[static_cast<size_t>(r)];
    call.max_q_len = std::max(call.max_q_len, row.q_len);
    call.max_kv_len = std::max(call.max_kv_len, row.kv_len);
    call.total_q += row.q_len;
  }
  return call;
}
}  // namespace

AttentionCall Pass::layer_call(int l) const {
  return bounded(host_rows_, plan_.rows_after(l - 1), attention_rows_, segments_ + static_cast<size_t>(l) * segments_per_layer_);
}

AttentionCall Pass::tail_call(int l) const {
  return bounded(host_tail_, static_cast<int>(host_tail_.size()), tail_rows_, segments_ + static_cast<size_t>(l) * segments_per_layer_);
}

void Pass::prepare_wanted() {
  if (plan_.last_block_all || plan_.last_block.empty()) return;
  const std::vector<int32_t>& wanted = plan_.last_block;
  const int n = wanted_count();
  wanted_tokens_ = scratch_.upload("wanted.tokens", wanted.data(), wanted.size());
  wanted_h_ = scratch_.get("wanted.h", static_cast<size_t>(n) * act_bytes(c_.hidden_size));
  wanted_q_ = scratch_.get("wanted.q", static_cast<size_t>(n) * act_bytes(c_.qkv_width()));
  wanted_lora_ = ranges_of(wanted);

  if (steer_.entries) {
    std::vector<int32_t> token_row;
    for (const int32_t token : wanted) token_row.push_back(plan_.token_row[static_cast<size_t>(token)]);
    std::vector<SteerEntry> entries = plan_.entries;
    for (SteerEntry& e : entries) {
      e.token_begin = wanted_row(e.token_begin);
      e.token_end = wanted_row(e.token_end);
    }
    wanted_steer_ = steer_;
    wanted_steer_.token_row = scratch_.upload("wanted.token_row", token_row.data(), token_row.size());
    wanted_steer_.entries = scratch_.upload("wanted.entries", entries.data(), entries.size());
  }
  if (options_.dropout) {
    std::vector<int32_t> example, position;
    for (const int32_t token : wanted) {
      example.push_back(options_.dropout->token_example[static_cast<size_t>(token)]);
      position.push_back(plan_.positions[static_cast<size_t>(token)]);
    }
    wanted_key_ = {options_.dropout->seed, options_.dropout->step, scratch_.upload("wanted.example", example.data(), example.size()),
                   scratch_.upload("wanted.position", position.data(), position.size())};
  }

  // One attention row per run of consecutive wanted positions of a row; its own keys end with the run.
  std::vector<AttentionRow> rows;
  std::vector<KvSegment> segments;
  for (int i = 0; i < n;) {
    const int packed = plan_.token_row[static_cast<size_t>(wanted[static_cast<size_t>(i)])];
    const PlanRow& row = plan_.rows[static_cast<size_t>(packed)];
    int j = i + 1;
    while (j < n && wanted[static_cast<size_t>(j)] == wanted[static_cast<size_t>(j) - 1] + 1 && wanted[static_cast<size_t>(j)] < row.begin + row.len) ++j;
    const int own_len = wanted[static_cast<size_t>(j) - 1] + 1 - row.begin;
    const std::vector<KvSegment> own = segments_of(c_.num_hidden_layers - 1, packed, own_len);
    int kv_len = 0;
    for (const KvSegment& s : own) kv_len += s.len;
    rows.push_back({i, j - i, i, static_cast<int32_t>(segments.size()), static_cast<int32_t>(own.size()), kv_len});
    segments.insert(segments.end(), own.begin(), own.end());
    i = j;
  }
  const AttentionRow* device_rows = scratch_.upload("wanted.rows", rows.data(), rows.size());
  wanted_call_ = bounded(rows, static_cast<int>(rows.size()), device_rows, scratch_.upload("wanted.segments", segments.data(), segments.size()));
}

void Pass::prepare_storage() {
  const size_t rows = plan_.rows.size();
  stores_.resize(rows);
  store_first_.assign(rows, c_.num_hidden_layers);
  store_end_.assign(rows, 0);
  for (size_t r = 0; r < rows; ++r) {
    if (!request_.keep_cache[static_cast<size_t>(plan_.rows[r].source)]) continue;
    for (int at = static_cast<int>(r); at >= 0; at = plan_.rows[static_cast<size_t>(at)].parent) {
      for (int l = 0; l < c_.num_hidden_layers; ++l) {
        const size_t carrier = static_cast<size_t>(plan_.carrier(at, l));
        store_first_[carrier] = std::min(store_first_[carrier], l);
        store_end_[carrier] = std::max(store_end_[carrier], l + 1);
      }
    }
  }
  for (size_t r = 0; r < rows; ++r)
    if (store_end_[r] > store_first_[r])
      stores_[r] = std::make_unique<KvStore>(model_.memory(), c_, store_first_[r], store_end_[r], plan_.rows[r].len);
}

void Pass::prepare_captures() {
  if (!request_.capture.wanted || plan_.captured.empty() || request_.capture.layers.empty()) return;
  captured_ = DeviceBuffer(model_.memory(), plan_.captured.size() * request_.capture.layers.size() * c_.hidden_size * sizeof(float));
}

}  // namespace steerlab
