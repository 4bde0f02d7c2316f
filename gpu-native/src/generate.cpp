// Model::generate: the prompt in one pass, then one token per row and pass until a stop id or maxTokens.
//
// New keys and values go to one slab per layer, `capacity` slots per row; the prompt's blocks stay as they are. A row's tokens
// depend on its own seed and positions only, never on the other rows.
#include <algorithm>

#include "error.h"
#include "pass.h"

namespace steerlab {
namespace {

struct Growing {
  int row;  // of the request
  std::shared_ptr<const Cache> prompt;
  int held = 0;  // generated tokens whose keys are in the slab
  int32_t next = 0;
  std::vector<int32_t> tokens;
  bool stopped = false;
};

std::vector<int32_t> sample_rows(Model& model, const GenerateRequest& q, const Pass& pass, const PassPlan& plan,
                                 const std::vector<Growing*>& active) {
  std::vector<int32_t> index, out(active.size());
  for (const int32_t token : plan.reported) index.push_back(pass.wanted_row(token));
  model.for_logits(pass.final_rows(), index, [&](void* logits, int first, int count) {
    std::vector<SampleRow> rows;
    for (int i = first; i < first + count; ++i) {
      const Growing& g = *active[static_cast<size_t>(i)];
      rows.push_back({q.seeds[static_cast<size_t>(g.row)], static_cast<uint32_t>(plan.positions[static_cast<size_t>(plan.reported[static_cast<size_t>(i)])] + 1)});
    }
    model.backend().sample({.tokens = {out.data() + first, count}, .logits = logits, .n = count, .V = model.config().vocab_size,
                            .temperature = q.temperature, .top_p = q.top_p, .rows = rows});
  });
  for (size_t i = 0; i < out.size(); ++i)
    if (out[i] == kNoToken)
      throw Error("not-finite", "Expected finite logits to sample from but row " + std::to_string(active[i]->row) +
                                    " has NaN or infinity. Lower the magnitude of its steering, or check the adapter's numbers.");
  return out;
}

// Takes the sampled tokens; gives the rows that go on.
std::vector<Growing*> advance(const GenerateRequest& q, const std::vector<Growing*>& active, const std::vector<int32_t>& sampled) {
  std::vector<Growing*> going;
  for (size_t i = 0; i < active.size(); ++i) {
    Growing& g = *active[i];
    g.next = sampled[i];
    g.stopped = std::find(q.stop_ids.begin(), q.stop_ids.end(), g.next) != q.stop_ids.end();
    if (!g.stopped) g.tokens.push_back(g.next);
    if (!g.stopped && static_cast<int>(g.tokens.size()) < q.max_tokens) going.push_back(&g);
  }
  return going;
}

ForwardRequest step_request(const GenerateRequest& q, const std::vector<Growing*>& active) {
  ForwardRequest step;
  step.adapters = q.prompt.adapters;
  step.row_offsets = {0};
  step.report.wanted = true;
  step.report.token_offsets = {0};
  for (const Growing* g : active) {
    step.tokens.push_back(g->next);
    step.report.rows.push_back(static_cast<int32_t>(step.parent_row.size()));
    step.report.token_offsets.push_back(0);
    step.row_offsets.push_back(static_cast<int32_t>(step.tokens.size()));
    step.parent_row.push_back(-1);
    step.parent_cache.push_back(g->prompt);
    step.row_adapter.push_back(q.prompt.row_adapter[static_cast<size_t>(g->row)]);
    step.keep_cache.push_back(0);
  }
  return step;
}

}  // namespace

GenerateResult Model::generate(const GenerateRequest& q, const Job& job) {
  if (q.max_tokens < 1) throw Error("bad-request", "Expected maxTokens >= 1 but received " + std::to_string(q.max_tokens) + ".");
  if (!(q.temperature >= 0) || !(q.top_p > 0 && q.top_p <= 1)) throw Error("bad-request", "Expected temperature >= 0 and 0 < topP <= 1.");
  ForwardRequest prompt = q.prompt;
  const int rows = prompt.rows();
  if (static_cast<int>(q.seeds.size()) != rows)
    throw Error("bad-request", "Expected " + std::to_string(rows) + " seeds but received " + std::to_string(q.seeds.size()) + ".");
  if (!prompt.report.wanted) {
    prompt.report.wanted = true;
    for (int r = 0; r < rows; ++r) prompt.report.rows.push_back(r);
  }
  prompt.report.all_positions = false;
  prompt.report.token_ids.clear();
  prompt.report.token_offsets.assign(prompt.report.rows.size() + 1, 0);
  prompt.capture = CaptureRequest{};
  prompt.keep_cache.assign(static_cast<size_t>(rows), 0);
  for (const int32_t r : prompt.report.rows) {
    if (r < 0 || r >= rows || prompt.keep_cache[static_cast<size_t>(r)])
      throw Error("bad-request", "Expected each row once for report.rows but received " + std::to_string(r) + ".");
    prompt.keep_cache[static_cast<size_t>(r)] = 1;
  }

  std::vector<Growing> growing(static_cast<size_t>(rows));
  for (int r = 0; r < rows; ++r) growing[static_cast<size_t>(r)].row = r;
  std::vector<Growing*> active;
  {
    const PassPlan plan = make_plan(prompt, config_, q.max_tokens);
    Pass pass(*this, prompt, plan, PassOptions{});
    pass.run(Job{job.cancelled, nullptr});
    const std::vector<std::shared_ptr<Cache>> caches = pass.caches();
    for (const int32_t r : prompt.report.rows) {
      growing[static_cast<size_t>(r)].prompt = caches[static_cast<size_t>(r)];
      active.push_back(&growing[static_cast<size_t>(r)]);
    }
    active = advance(q, active, sample_rows(*this, q, pass, plan, active));
  }

  const int capacity = q.max_tokens;
  const size_t layer_bytes = static_cast<size_t>(rows) * capacity * config_.kv_width() * bytes_of(backend().act());
  const bool more = !active.empty();
  const DeviceBuffer keys = more ? DeviceBuffer(memory_, layer_bytes * config_.num_hidden_layers) : DeviceBuffer();
  const DeviceBuffer values = more ? DeviceBuffer(memory_, layer_bytes * config_.num_hidden_layers) : DeviceBuffer();
  for (int made = 1; !active.empty(); ++made) {
    job.report(made, q.max_tokens);
    KvTarget target{keys.get(), values.get(), layer_bytes, {}, {}};
    for (const Growing* g : active) {
      target.slot_base.push_back(g->row * capacity);
      target.held.push_back(g->held);
    }
    const ForwardRequest step = step_request(q, active);
    PassPlan plan = make_plan(step, config_);
    for (size_t r = 0; r < active.size(); ++r) {
      plan.positions[r] += active[r]->held;
      plan.rows[r].first_position += active[r]->held;
    }
    PassOptions options;
    options.target = &target;
    Pass pass(*this, step, plan, options);
    pass.run(Job{job.cancelled, nullptr});
    for (Growing* g : active) ++g->held;
    active = advance(q, active, sample_rows(*this, q, pass, plan, active));
  }

  GenerateResult result;
  result.offsets.push_back(0);
  for (const Growing& g : growing) {
    result.tokens.insert(result.tokens.end(), g.tokens.begin(), g.tokens.end());
    result.offsets.push_back(static_cast<int32_t>(result.tokens.size()));
    result.stopped.push_back(g.stopped ? 1 : 0);
  }
  return result;
}

}  // namespace steerlab
