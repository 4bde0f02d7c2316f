#include "model.h"

#include <algorithm>
#include <cmath>

namespace steerlab {
namespace {

// Logits kept at a time: 64 MB.
constexpr size_t kLogitBytes = size_t{64} << 20;

// As transformers: inverse frequencies, positions and their products in F32, then the cosine of that F32 angle.
void rotary_tables(const ModelConfig& c, std::vector<float>& cosines, std::vector<float>& sines) {
  const int half = c.head_dim / 2;
  const size_t count = static_cast<size_t>(c.max_position_embeddings) * half;
  cosines.resize(count);
  sines.resize(count);
  for (int i = 0; i < half; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(c.head_dim);
    const float inverse = c.rope_frequencies.empty() ? 1.0f / static_cast<float>(std::pow(c.rope_theta, static_cast<double>(exponent)))
                                                     : c.rope_frequencies[static_cast<size_t>(i)];
    for (int position = 0; position < c.max_position_embeddings; ++position) {
      const float angle = static_cast<float>(position) * inverse;
      const size_t at = static_cast<size_t>(position) * half + i;
      cosines[at] = static_cast<float>(std::cos(static_cast<double>(angle))) * c.rope_scale;
      sines[at] = static_cast<float>(std::sin(static_cast<double>(angle))) * c.rope_scale;
    }
  }
}

}  // namespace

Model::Model(std::shared_ptr<Backend> backend, const ModelConfig& config, const std::vector<TensorLocation>* tensors, uint64_t seed,
             const Job& job)
    : config_(config), memory_(std::make_shared<Memory>(std::move(backend))), scratch_(std::make_unique<Scratch>(memory_)) {
  check_config(config_);
  try {
    if (tensors) bind_weights(weights_, memory_->backend(), config_, *tensors, job);
    else random_weights(weights_, memory_->backend(), config_, seed, job);
  } catch (...) {
    release_weights(memory_->backend(), weights_);
    throw;
  }
  std::vector<float> cosines, sines;
  rotary_tables(config_, cosines, sines);
  const size_t bytes = cosines.size() * sizeof(float);
  cos_ = DeviceBuffer(memory_, bytes);
  sin_ = DeviceBuffer(memory_, bytes);
  memory_->backend().upload(cos_.get(), cosines.data(), bytes);
  memory_->backend().upload(sin_.get(), sines.data(), bytes);
}

void Model::dispose() {
  if (!memory_->open()) return;
  release_weights(memory_->backend(), weights_);
  memory_->close();
}

void Model::for_logits(const void* x, const std::vector<int32_t>& index,
                       const std::function<void(void* logits, int first, int count)>& visit) {
  Backend& be = backend();
  const int C = config_.hidden_size, V = config_.vocab_size, total = static_cast<int>(index.size());
  const size_t row = static_cast<size_t>(V) * bytes_of(be.master());
  const int chunk = std::min(total, static_cast<int>(std::max<size_t>(1, kLogitBytes / row)));
  const int32_t* device_index = scratch_->upload("head.index", index.data(), index.size());
  void* rows = scratch_->get("head.rows", static_cast<size_t>(chunk) * C * bytes_of(be.act()));
  void* logits = scratch_->get("head.logits", static_cast<size_t>(chunk) * row);
  for (int first = 0; first < total; first += chunk) {
    const int count = std::min(chunk, total - first);
    be.gather_rows({.dst = rows, .src = x, .index = device_index + first, .n = count, .width = C});
    be.logits({.logits = logits, .x = rows, .head = weights_.head, .n = count});
    visit(logits, first, count);
  }
}

}  // namespace steerlab
