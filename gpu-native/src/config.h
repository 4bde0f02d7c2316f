// The numbers of a Qwen2 config.json (same field names), and the seven projections of a block in their one order.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "backend.h"

namespace steerlab {

struct ModelConfig {
  int hidden_size = 0, num_hidden_layers = 0, num_attention_heads = 0, num_key_value_heads = 0, head_dim = 0;
  int intermediate_size = 0, vocab_size = 0, max_position_embeddings = 0;
  double rope_theta = 1e4, rms_norm_eps = 1e-6;
  bool tie_word_embeddings = false;
  std::vector<float> rope_frequencies;  // (D / 2) of scaled positions; empty: rope_theta^(-2i / D)
  float rope_scale = 1;                 // of cosines and sines

  int query_width() const { return num_attention_heads * head_dim; }
  int kv_width() const { return num_key_value_heads * head_dim; }
  int qkv_width() const { return query_width() + 2 * kv_width(); }
  HeadShape heads() const { return {num_attention_heads, num_key_value_heads, head_dim}; }
};

// Throws "bad-config" when a value would make the arithmetic impossible.
void check_config(const ModelConfig& c);

enum Projection : int { kQ = 0, kK = 1, kV = 2, kO = 3, kGate = 4, kUp = 5, kDown = 6, kProjections = 7 };

struct ProjectionInfo {
  const char* name;   // q_proj
  const char* group;  // self_attn or mlp
};
extern const std::array<ProjectionInfo, kProjections> kProjectionInfo;

int projection_in(const ModelConfig& c, int projection);
int projection_out(const ModelConfig& c, int projection);
// Throws "bad-module" for an unknown name.
int projection_index(const std::string& name);

inline std::string layer_prefix(int layer) { return "model.layers." + std::to_string(layer) + "."; }
inline std::string projection_path(int layer, int p) {
  return layer_prefix(layer) + kProjectionInfo[p].group + "." + kProjectionInfo[p].name;
}

}  // namespace steerlab
