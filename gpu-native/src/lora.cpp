#include "lora.h"

#include <algorithm>
#include <set>

#include "error.h"

namespace steerlab {
namespace {

// 16-byte alignment of every matrix inside one buffer.
size_t padded(size_t bytes) { return (bytes + 15) / 16 * 16; }

void upload_as(Backend& backend, void* dst, const std::vector<float>& values) {
  if (backend.master() == DType::F32) {
    backend.upload(dst, values.data(), values.size() * sizeof(float));
    return;
  }
  const std::vector<double> wide(values.begin(), values.end());
  backend.upload(dst, wide.data(), wide.size() * sizeof(double));
}

}  // namespace

void check_parts(const ModelConfig& c, const std::vector<AdapterPart>& parts) {
  std::set<int> seen;
  for (const AdapterPart& part : parts) {
    const std::string where = "layer " + std::to_string(part.layer) + " " + kProjectionInfo[part.projection].name;
    if (part.layer < 0 || part.layer >= c.num_hidden_layers) {
      throw Error("bad-layer", "Expected layer in [0, " + std::to_string(c.num_hidden_layers) + ") for adapter part but received " +
                                   std::to_string(part.layer) + ". The adapter belongs to another model.");
    }
    const size_t r = static_cast<size_t>(part.r);
    const size_t want_a = r * static_cast<size_t>(projection_in(c, part.projection));
    const size_t want_b = r * static_cast<size_t>(projection_out(c, part.projection));
    if (part.r < 1 || part.a.size() != want_a || part.b.size() != want_b) {
      throw Error("adapter-shape", "Expected A of " + std::to_string(want_a) + " and B of " + std::to_string(want_b) + " numbers for " +
                                       where + " but received " + std::to_string(part.a.size()) + " and " +
                                       std::to_string(part.b.size()) + ". The adapter belongs to another model.");
    }
    if (!part.bias.empty() && part.bias.size() != static_cast<size_t>(projection_out(c, part.projection))) {
      throw Error("adapter-shape", "Expected a bias of " + std::to_string(projection_out(c, part.projection)) + " numbers for " + where +
                                       " but received " + std::to_string(part.bias.size()) + ". The adapter belongs to another model.");
    }
    if (!seen.insert(part.layer * kProjections + part.projection).second)
      throw Error("duplicate-part", "Expected one adapter part for " + where + " but received two.");
  }
}

std::shared_ptr<Adapter> upload_adapter(const std::shared_ptr<Memory>& memory, const ModelConfig& c,
                                        const std::vector<AdapterPart>& parts) {
  Backend& backend = memory->backend();
  const size_t element = bytes_of(backend.master());
  size_t total = 0;
  for (const AdapterPart& part : parts) total += padded(part.a.size() * element) + padded(part.b.size() * element) + padded(part.bias.size() * element);

  auto adapter = std::make_shared<Adapter>();
  adapter->pairs.resize(static_cast<size_t>(c.num_hidden_layers * kProjections));
  adapter->storage = std::make_shared<DeviceBuffer>(memory, total);
  size_t at = 0;
  for (const AdapterPart& part : parts) {
    LoraPair& pair = adapter->pairs[static_cast<size_t>(part.layer * kProjections + part.projection)];
    pair.r = part.r;
    pair.scaling = part.scaling;
    char* a = adapter->storage->bytes_at(at);
    at += padded(part.a.size() * element);
    char* b = adapter->storage->bytes_at(at);
    at += padded(part.b.size() * element);
    upload_as(backend, a, part.a);
    upload_as(backend, b, part.b);
    pair.a = a;
    pair.b = b;
    if (!part.bias.empty()) {
      char* bias = adapter->storage->bytes_at(at);
      at += padded(part.bias.size() * element);
      upload_as(backend, bias, part.bias);
      pair.bias = bias;
    }
    adapter->max_rank = std::max(adapter->max_rank, part.r);
  }
  return adapter;
}

FlatLayout flat_layout(const ModelConfig& c, int r, const std::vector<int>& targets) {
  if (r < 1) throw Error("bad-rank", "Expected r >= 1 for LoRA but received " + std::to_string(r) + ".");
  const std::set<int> chosen(targets.begin(), targets.end());
  if (chosen.empty() || chosen.size() != targets.size())
    throw Error("bad-module", "Expected at least one target module, each named once, for LoRA.");
  FlatLayout layout;
  layout.r = r;
  for (int l = 0; l < c.num_hidden_layers; ++l) {
    for (const int p : chosen) {
      for (const bool is_b : {false, true}) {
        FlatTensor t{l, p, is_b, is_b ? projection_out(c, p) : r, is_b ? r : projection_in(c, p), layout.count};
        layout.count += static_cast<int64_t>(t.rows) * t.cols;
        layout.tensors.push_back(t);
      }
    }
  }
  return layout;
}

std::string flat_name(const FlatTensor& t) {
  return projection_path(t.layer, t.projection) + (t.is_b ? ".lora_B.weight" : ".lora_A.weight");
}

std::shared_ptr<Adapter> view_adapter(const ModelConfig& c, const FlatLayout& layout, float scaling,
                                      std::shared_ptr<DeviceBuffer> storage, DType master) {
  auto adapter = std::make_shared<Adapter>();
  adapter->pairs.resize(static_cast<size_t>(c.num_hidden_layers * kProjections));
  adapter->max_rank = layout.r;
  for (const FlatTensor& t : layout.tensors) {
    LoraPair& pair = adapter->pairs[static_cast<size_t>(t.layer * kProjections + t.projection)];
    pair.r = layout.r;
    pair.scaling = scaling;
    const void* at = storage->bytes_at(static_cast<size_t>(t.offset) * bytes_of(master));
    (t.is_b ? pair.b : pair.a) = at;
  }
  adapter->storage = std::move(storage);
  return adapter;
}

}  // namespace steerlab
