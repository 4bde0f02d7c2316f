// A loaded Qwen2 model on one backend: config, weights, rotary tables, workspaces, and the calls on them.
#pragma once
#include <memory>
#include <vector>

#include "config.h"
#include "job.h"
#include "memory.h"
#include "request.h"
#include "weights.h"

namespace steerlab {

class Model {
 public:
  // `tensors` null: random weights from `seed`.
  Model(std::shared_ptr<Backend> backend, const ModelConfig& config, const std::vector<TensorLocation>* tensors, uint64_t seed,
        const Job& job);
  // Frees everything on the device at once; any later call throws "disposed". Calling it twice does nothing.
  void dispose();

  Backend& backend() const { return memory_->backend(); }
  const std::shared_ptr<Memory>& memory() const { return memory_; }
  const ModelConfig& config() const { return config_; }
  const ModelWeights& weights() const { return weights_; }
  Scratch& scratch() { return *scratch_; }
  const float* cos() const { return static_cast<const float*>(cos_.get()); }  // (max_position_embeddings, D / 2)
  const float* sin() const { return static_cast<const float*>(sin_.get()); }

  ForwardResult forward(const ForwardRequest& request, const Job& job);
  GenerateResult generate(const GenerateRequest& request, const Job& job);

  // Logits of rows x[index[i]] (normalised by the final norm), `chunk` rows at a time so that memory stays bounded:
  // visit(logits, first, count) for consecutive chunks.
  void for_logits(const void* x, const std::vector<int32_t>& index, const std::function<void(void* logits, int first, int count)>& visit);

 private:
  ModelConfig config_;
  std::shared_ptr<Memory> memory_;
  std::unique_ptr<Scratch> scratch_;
  ModelWeights weights_;
  DeviceBuffer cos_, sin_;
};

}  // namespace steerlab
