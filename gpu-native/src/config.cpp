#include "config.h"

#include "error.h"

namespace steerlab {

const std::array<ProjectionInfo, kProjections> kProjectionInfo = {{{"q_proj", "self_attn"},
                                                                   {"k_proj", "self_attn"},
                                                                   {"v_proj", "self_attn"},
                                                                   {"o_proj", "self_attn"},
                                                                   {"gate_proj", "mlp"},
                                                                   {"up_proj", "mlp"},
                                                                   {"down_proj", "mlp"}}};

namespace {
void need(bool ok, const char* what, const char* name, double received) {
  if (ok) return;
  std::string value = received == static_cast<double>(static_cast<long long>(received))
                          ? std::to_string(static_cast<long long>(received))
                          : std::to_string(received);
  throw Error("bad-config", std::string("Expected ") + what + " for " + name + " but received " + value + ". Check config.json.");
}
}  // namespace

void check_config(const ModelConfig& c) {
  need(c.hidden_size > 0, "a positive integer", "hidden_size", c.hidden_size);
  need(c.num_hidden_layers > 0, "a positive integer", "num_hidden_layers", c.num_hidden_layers);
  need(c.num_attention_heads > 0, "a positive integer", "num_attention_heads", c.num_attention_heads);
  need(c.num_key_value_heads > 0 && c.num_attention_heads % c.num_key_value_heads == 0, "a divisor of num_attention_heads",
       "num_key_value_heads", c.num_key_value_heads);
  need(c.head_dim > 0 && c.head_dim % 2 == 0, "a positive even integer", "head_dim", c.head_dim);
  need(c.intermediate_size > 0, "a positive integer", "intermediate_size", c.intermediate_size);
  need(c.vocab_size > 1, "an integer > 1", "vocab_size", c.vocab_size);
  need(c.max_position_embeddings > 0, "a positive integer", "max_position_embeddings", c.max_position_embeddings);
  need(c.rope_theta > 0, "a positive number", "rope_theta", c.rope_theta);
  need(c.rope_frequencies.empty() || c.rope_frequencies.size() * 2 == static_cast<size_t>(c.head_dim), "head_dim / 2 numbers or none",
       "rope_frequencies", static_cast<double>(c.rope_frequencies.size()));
  need(c.rope_scale > 0, "a positive number", "rope_scale", c.rope_scale);
  need(c.rms_norm_eps > 0, "a positive number", "rms_norm_eps", c.rms_norm_eps);
}

int projection_in(const ModelConfig& c, int p) {
  if (p == kO) return c.query_width();
  if (p == kDown) return c.intermediate_size;
  return c.hidden_size;
}

int projection_out(const ModelConfig& c, int p) {
  switch (p) {
    case kQ: return c.query_width();
    case kK:
    case kV: return c.kv_width();
    case kGate:
    case kUp: return c.intermediate_size;
    default: return c.hidden_size;
  }
}

int projection_index(const std::string& name) {
  for (int p = 0; p < kProjections; ++p)
    if (name == kProjectionInfo[p].name) return p;
  throw Error("bad-module", "Expected one of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj for module but received \"" +
                                name + "\".");
}

}  // namespace steerlab
