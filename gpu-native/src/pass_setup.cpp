// The preparations of a Pass: device tables, workspaces, token sets, room for kept keys and values.
#include <algorithm>
#include <string>

#include "pass.h"

namespace steerlab {

void Pass::prepare_tables() {
  tokens_ = scratch_.upload("pass.tokens", plan_.tokens.data(), plan_.tokens.size());
  if (!plan_.entries.empty()) {
    const int C = c_.hidden_size;
    entry_offsets_ = scratch_.upload("pass.entry_offsets", plan_.entry_offsets.data(), plan_.entry_offsets.size());
    vectors_ = scratch_.upload("pass.vectors", request_.steering.vectors.data(), request_.steering.vectors.size() / C * C);
  }
  if (plan_.tokens_after(-1) < plan_.count()) {
    std::vector<int32_t> leader_tokens;
    for (const PlanRow& row : plan_.rows)
      for (int i = 0; i < row.len; ++i) leader_tokens.push_back(plan_.rows[static_cast<size_t>(row.leader)].begin + i);
    leader_tokens_ = scratch_.upload("pass.leader_tokens", leader_tokens.data(), leader_tokens.size());
  }
  for (const PlanRow& row : plan_.rows)
    if (row.adapter >= 0) max_rank_ = std::max(max_rank_, request_.adapters[static_cast<size_t>(row.adapter)]->max_rank);
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
    input_h_ = scratch_.get("train.input_h", static_cast<size_t>(L) * tail() * act_bytes(C));
    middle_h_ = scratch_.get("train.middle_h", static_cast<size_t>(L) * tail() * act_bytes(C));
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

TokenSet Pass::token_set(const std::string& name, const std::vector<int32_t>& tokens, int first_layer) {
  const auto upload = [&](const char* what, const auto& values) { return scratch_.upload(name + what, values.data(), values.size()); };
  const auto row_at = [&](int32_t token) { return static_cast<int32_t>(std::lower_bound(tokens.begin(), tokens.end(), token) - tokens.begin()); };
  TokenSet set;
  set.n = static_cast<int>(tokens.size());
  set.tail = saving() ? row_at(options_.tail_begin) : set.n;
  set.first_layer = first_layer;

  std::vector<int32_t> packed, position, example;
  for (int i = 0; i < set.n; ++i) {
    const size_t token = static_cast<size_t>(tokens[static_cast<size_t>(i)]);
    packed.push_back(plan_.token_row[token]);
    position.push_back(plan_.positions[token]);
    if (options_.dropout) example.push_back(options_.dropout->token_example[token]);
    const int adapter = plan_.rows[static_cast<size_t>(packed.back())].adapter;
    if (adapter < 0) continue;
    if (!set.lora.empty() && set.lora.back().end == i && set.lora.back().adapter == adapter) ++set.lora.back().end;
    else set.lora.push_back({i, i + 1, adapter});
  }
  set.positions = upload(".positions", position);
  if (options_.dropout) set.key = {options_.dropout->seed, options_.dropout->step, upload(".example", example), set.positions};
  if (!plan_.entries.empty()) {
    std::vector<SteerEntry> entries = plan_.entries;
    for (SteerEntry& e : entries) {
      e.token_begin = row_at(e.token_begin);
      e.token_end = row_at(e.token_end);
    }
    set.steer = {upload(".token_row", packed), entry_offsets_, upload(".entries", entries), vectors_};
  }

  std::vector<KvSegment> segments;
  for (int l = first_layer; l < c_.num_hidden_layers; ++l) {
    for (int i = 0, j; i < set.n; i = j) {
      const auto token = [&](int at) { return tokens[static_cast<size_t>(at)]; };
      const int row = packed[static_cast<size_t>(i)];
      for (j = i + 1; j < set.n && packed[static_cast<size_t>(j)] == row && token(j) == token(j - 1) + 1;) ++j;
      const std::vector<KvSegment> own = segments_of(l, row, token(j - 1) + 1 - plan_.rows[static_cast<size_t>(row)].begin);
      if (l == first_layer) {
        AttentionRow run{i, j - i, i, static_cast<int32_t>(segments.size()), static_cast<int32_t>(own.size()), 0};
        for (const KvSegment& s : own) run.kv_len += s.len;
        set.runs.push_back(run);
        run.q_row = run.out_row -= set.tail;
        if (i >= set.tail) set.tail_runs.push_back(run);
      }
      segments.insert(segments.end(), own.begin(), own.end());
    }
    if (l == first_layer) set.segments_per_layer = static_cast<int>(segments.size());
  }
  set.segments = upload(".segments", segments);
  set.device_runs = upload(".runs", set.runs);
  set.device_tail_runs = upload(".tail_runs", set.tail_runs);
  return set;
}

AttentionCall TokenSet::bounded(int layer, const std::vector<AttentionRow>& host, const AttentionRow* device, int count) const {
  AttentionCall call;
  call.n_rows = count;
  call.rows = device;
  call.segments = segments + static_cast<size_t>(layer - first_layer) * static_cast<size_t>(segments_per_layer);
  for (int r = 0; r < count; ++r) {
    const AttentionRow& row = host[static_cast<size_t>(r)];
    call.max_q_len = std::max(call.max_q_len, row.q_len);
    call.max_kv_len = std::max(call.max_kv_len, row.kv_len);
    call.total_q += row.q_len;
  }
  return call;
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
