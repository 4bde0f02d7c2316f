// LoRA adapters as device matrices per (layer, projection), and the flat layout of a trainer's parameters.
//
// y += scaling * (dropout(x) A^T B^T + bias) (Hu et al. 2021; PEFT's scaling = alpha / r; its lora_bias). An adapter is bound to rows of a call, never
// merged. A may lie in the adapter's own buffer or inside a trainer's flat array.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "config.h"
#include "memory.h"

namespace steerlab {

struct LoraPair {
  int r = 0;  // 0: this projection has no adapter
  float scaling = 1;
  const void* a = nullptr;  // (r, in) master
  const void* b = nullptr;  // (out, r) master
  const void* bias = nullptr;  // (out) master, or null
};

struct Adapter {
  std::vector<LoraPair> pairs;  // [layer * kProjections + projection]
  int max_rank = 0;
  std::shared_ptr<DeviceBuffer> storage;
  const LoraPair& at(int layer, int projection) const { return pairs[static_cast<size_t>(layer * kProjections + projection)]; }
};

struct AdapterPart {
  int layer = 0, projection = 0, r = 0;
  float scaling = 1;
  std::vector<float> a, b, bias;  // bias: empty for none
};

// Throws "bad-layer", "adapter-shape" or "duplicate-part".
void check_parts(const ModelConfig& config, const std::vector<AdapterPart>& parts);
std::shared_ptr<Adapter> upload_adapter(const std::shared_ptr<Memory>& memory, const ModelConfig& config,
                                        const std::vector<AdapterPart>& parts);

// One tensor of the flat parameter array: order = layer, projection (q k v o gate up down), A then B.
struct FlatTensor {
  int layer, projection;
  bool is_b;
  int rows, cols;
  int64_t offset;
};
struct FlatLayout {
  int r = 0;
  std::vector<FlatTensor> tensors;
  int64_t count = 0;
};
// Throws "bad-rank" or "bad-module" (none, or one named twice).
FlatLayout flat_layout(const ModelConfig& config, int r, const std::vector<int>& targets);
std::string flat_name(const FlatTensor& t);

// Views of the flat array `params` as an adapter; `storage` keeps it alive.
std::shared_ptr<Adapter> view_adapter(const ModelConfig& config, const FlatLayout& layout, float scaling,
                                      std::shared_ptr<DeviceBuffer> storage, DType master);

}  // namespace steerlab
