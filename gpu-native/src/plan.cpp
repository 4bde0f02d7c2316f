#include "plan.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <string>

#include "error.h"

namespace steerlab {
namespace {

// What sharing needs to know of a row of the request.
struct RowFacts {
  int depth = 0;           // links to a row without parent
  int first_steered = 0;   // first block at whose end the row's residual stream is touched; L: never
  int leader = 0, fork = -1;  // request rows
};

// An entry that adds nothing is no steering at all: it neither runs nor stops sharing.
bool effective(const SteeringColumns& s, size_t i) {
  return s.magnitude[i] != 0 && s.layer_end[i] > s.layer_start[i] && s.span_end[i] > s.span_start[i];
}

std::vector<RowFacts> row_facts(const ForwardRequest& q, int layers) {
  std::vector<RowFacts> facts(static_cast<size_t>(q.rows()));
  for (int r = 0; r < q.rows(); ++r) {
    RowFacts& f = facts[static_cast<size_t>(r)];
    f.leader = r;
    f.first_steered = layers;
    const int parent = q.parent_row[static_cast<size_t>(r)];
    if (parent >= 0) f.depth = facts[static_cast<size_t>(parent)].depth + 1;
  }
  for (size_t i = 0; i < q.steering.row.size(); ++i) {
    if (!effective(q.steering, i)) continue;
    RowFacts& f = facts[static_cast<size_t>(q.steering.row[i])];
    f.first_steered = std::min(f.first_steered, static_cast<int>(q.steering.layer_start[i]));
  }
  return facts;
}

// Equal keys: equal tokens, adapter and (as far as the first block can tell) prefix.
std::string share_key(const ForwardRequest& q, const std::vector<RowFacts>& facts, int r) {
  const size_t i = static_cast<size_t>(r);
  const int parent = q.parent_row[i];
  const int64_t parent_leader = parent < 0 ? -1 : facts[static_cast<size_t>(parent)].leader;
  const Cache* cache = q.parent_cache[i].get();
  const void* first_block = cache && !cache->layers[0].empty() ? cache->layers[0][0].k : nullptr;
  const int64_t head[4] = {parent_leader, cache ? cache->length : 0, reinterpret_cast<int64_t>(first_block), q.row_adapter[i]};
  std::string key(reinterpret_cast<const char*>(head), sizeof head);
  key.append(reinterpret_cast<const char*>(q.tokens.data() + q.row_offsets[i]), static_cast<size_t>(q.row_length(r)) * sizeof(int32_t));
  return key;
}

// Number of leading blocks in which rows a and b see the very same prefix.
int equal_prefix_layers(const ForwardRequest& q, const std::vector<RowFacts>& facts, int a, int b, int layers) {
  const int pa = q.parent_row[static_cast<size_t>(a)], pb = q.parent_row[static_cast<size_t>(b)];
  if (pa != pb) {
    const auto shared = [&](int p) { return facts[static_cast<size_t>(p)].leader == p ? layers : facts[static_cast<size_t>(p)].fork + 1; };
    return std::min(shared(pa), shared(pb));
  }
  const Cache* ca = q.parent_cache[static_cast<size_t>(a)].get();
  const Cache* cb = q.parent_cache[static_cast<size_t>(b)].get();
  return ca == cb ? layers : equal_layers(*ca, *cb);
}

void find_sharing(const ForwardRequest& q, std::vector<RowFacts>& facts, int layers) {
  int deepest = 0;
  for (const RowFacts& f : facts) deepest = std::max(deepest, f.depth);
  for (int depth = 0; depth <= deepest; ++depth) {
    std::map<std::string, std::vector<int>> groups;
    for (int r = 0; r < q.rows(); ++r)
      if (facts[static_cast<size_t>(r)].depth == depth) groups[share_key(q, facts, r)].push_back(r);
    for (const auto& [key, members] : groups) {
      // The best leader stays unsteered longest, and continues a leader.
      const auto rank = [&](int r) {
        const int parent = q.parent_row[static_cast<size_t>(r)];
        const bool of_leader = parent < 0 || facts[static_cast<size_t>(parent)].leader == parent;
        return 2 * facts[static_cast<size_t>(r)].first_steered + (of_leader ? 1 : 0);
      };
      const int leader = *std::max_element(members.begin(), members.end(), [&](int a, int b) { return rank(a) < rank(b); });
      for (const int r : members) {
        if (r == leader) continue;
        RowFacts& f = facts[static_cast<size_t>(r)];
        const int fork = std::min({f.first_steered, facts[static_cast<size_t>(leader)].first_steered,
                                   equal_prefix_layers(q, facts, r, leader, layers) - 1, layers - 2});
        if (fork < 0) continue;
        f.leader = leader;
        f.fork = fork;
      }
    }
  }
}

void pack_steering(const ForwardRequest& q, PassPlan& plan, int layers) {
  const SteeringColumns& s = q.steering;
  std::vector<size_t> order;
  for (size_t i = 0; i < s.row.size(); ++i)
    if (effective(s, i)) order.push_back(i);
  const auto packed = [&](size_t i) { return plan.packed_of[static_cast<size_t>(s.row[i])]; };
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return packed(a) < packed(b); });
  plan.entry_offsets.assign(plan.rows.size() + 1, 0);
  plan.steered_layer.assign(static_cast<size_t>(layers), 0);
  for (const size_t i : order) {
    const int row = packed(i), begin = plan.rows[static_cast<size_t>(row)].begin;
    plan.entries.push_back({s.layer_start[i], s.layer_end[i], begin + s.span_start[i], begin + s.span_end[i], s.vector[i], s.magnitude[i]});
    ++plan.entry_offsets[static_cast<size_t>(row) + 1];
    for (int l = s.layer_start[i]; l < s.layer_end[i]; ++l) plan.steered_layer[static_cast<size_t>(l)] = 1;
  }
  std::partial_sum(plan.entry_offsets.begin(), plan.entry_offsets.end(), plan.entry_offsets.begin());
}

// last: how many of each row's last positions; empty: all of them or one.
void append_positions(const PassPlan& plan, const std::vector<int32_t>& rows, bool all, const std::vector<int32_t>& last,
                      std::vector<int32_t>& out) {
  for (size_t r = 0; r < rows.size(); ++r) {
    const PlanRow& row = plan.rows[static_cast<size_t>(plan.packed_of[static_cast<size_t>(rows[r])])];
    const int count = !last.empty() ? last[r] : all ? row.len : 1;
    for (int i = row.len - count; i < row.len; ++i) out.push_back(row.begin + i);
  }
}

}  // namespace

int PassPlan::rows_after(int layer) const {
  const auto end = std::partition_point(rows.begin(), rows.end(), [&](const PlanRow& r) { return r.fork <= layer; });
  return static_cast<int>(end - rows.begin());
}

int PassPlan::tokens_after(int layer) const {
  const int n = rows_after(layer);
  return n == 0 ? 0 : rows[static_cast<size_t>(n) - 1].begin + rows[static_cast<size_t>(n) - 1].len;
}

PassPlan make_plan(const ForwardRequest& q, const ModelConfig& c, int reserve) {
  check_request(q, c);
  const int L = c.num_hidden_layers;
  std::vector<RowFacts> facts = row_facts(q, L);
  if (q.share_layers) find_sharing(q, facts, L);

  std::vector<int> order(static_cast<size_t>(q.rows()));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int a, int b) { return facts[static_cast<size_t>(a)].fork < facts[static_cast<size_t>(b)].fork; });

  PassPlan plan;
  plan.packed_of.resize(order.size());
  for (size_t i = 0; i < order.size(); ++i) plan.packed_of[static_cast<size_t>(order[i])] = static_cast<int>(i);
  std::vector<int> first_position(order.size(), 0);
  for (int r = 0; r < q.rows(); ++r) {
    const size_t i = static_cast<size_t>(r);
    const int parent = q.parent_row[i];
    if (parent >= 0) first_position[i] = first_position[static_cast<size_t>(parent)] + q.row_length(parent);
    if (q.parent_cache[i]) first_position[i] = q.parent_cache[i]->length;
    const int64_t end = static_cast<int64_t>(first_position[i]) + q.row_length(r) + reserve;
    if (end > c.max_position_embeddings) {
      throw Error("too-long", "Expected at most " + std::to_string(c.max_position_embeddings) + " positions for row " + std::to_string(r) +
                                  " but received " + std::to_string(end) + ". Shorten the text; the model was made for no more.");
    }
  }
  for (const int r : order) {
    const size_t i = static_cast<size_t>(r);
    PlanRow row;
    row.source = r;
    row.begin = plan.count();
    row.len = q.row_length(r);
    row.first_position = first_position[i];
    row.parent = q.parent_row[i] < 0 ? -1 : plan.packed_of[static_cast<size_t>(q.parent_row[i])];
    row.prefix = q.parent_cache[i].get();
    row.adapter = q.row_adapter[i];
    row.leader = plan.packed_of[static_cast<size_t>(facts[i].leader)];
    row.fork = facts[i].fork;
    for (int t = 0; t < row.len; ++t) {
      plan.tokens.push_back(q.tokens[static_cast<size_t>(q.row_offsets[i] + t)]);
      plan.positions.push_back(row.first_position + t);
      plan.token_row.push_back(static_cast<int32_t>(plan.rows.size()));
    }
    plan.rows.push_back(row);
  }
  pack_steering(q, plan, L);

  if (q.report.wanted) append_positions(plan, q.report.rows, q.report.all_positions, q.report.last, plan.reported);
  if (q.capture.wanted) append_positions(plan, q.capture.rows, q.capture.all_positions, {}, plan.captured);
  plan.last_block = plan.reported;
  if (std::find(q.capture.layers.begin(), q.capture.layers.end(), L - 1) != q.capture.layers.end())
    plan.last_block.insert(plan.last_block.end(), plan.captured.begin(), plan.captured.end());
  std::sort(plan.last_block.begin(), plan.last_block.end());
  plan.last_block.erase(std::unique(plan.last_block.begin(), plan.last_block.end()), plan.last_block.end());
  plan.last_block_all = static_cast<int>(plan.last_block.size()) == plan.count();
  return plan;
}

}  // namespace steerlab
