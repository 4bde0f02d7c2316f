// Binds the tensors of a checkpoint (memory-mapped safetensors or GGUF files) to the places of a Qwen2 model.
//
// Reads tensor locations that TypeScript took from checked headers; checks again every byte range against the file's size and every
// shape against the config, because a wrong one would crash. Quantised blocks become numbers of the compute type on the way. Gives Weights on the device. Writes nothing.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "backend.h"
#include "config.h"
#include "job.h"
#include "quantised.h"

namespace steerlab {

struct TensorLocation {
  std::string name, file;
  DType dtype = DType::F32;             // of plain numbers
  const BlockFormat* blocks = nullptr;  // of quantised ones; null: plain
  std::vector<int64_t> shape;
  int64_t byte_offset = 0, byte_length = 0;
};

class MappedFile {
 public:
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  const char* data() const { return data_; }
  int64_t size() const { return size_; }

 private:
  const char* data_ = nullptr;
  int64_t size_ = 0;
};

// Host memory of a tensor that does not lie in a file as it is computed with.
struct DecodedTensor {
  explicit DecodedTensor(size_t bytes);
  ~DecodedTensor();
  DecodedTensor(const DecodedTensor&) = delete;
  DecodedTensor& operator=(const DecodedTensor&) = delete;
  void* data;
};

struct LayerWeights {
  Weight projection[kProjections];
  const float* input_norm = nullptr;           // (C)
  const float* post_attention_norm = nullptr;  // (C)
};

struct ModelWeights {
  Weight embed;  // (V, C)
  Weight head;   // (V, C); the same data as embed when tied
  const float* final_norm = nullptr;
  std::vector<LayerWeights> layers;
  std::vector<std::unique_ptr<MappedFile>> files;  // kept mapped: weights may lie in them
  std::vector<std::unique_ptr<DecodedTensor>> decoded;  // likewise, of quantised tensors
  std::vector<std::vector<float>> made;            // host vectors of random_weights, adopted in place on the CPU
  std::vector<const void*> loaded;                 // everything the backend gave, for release_weights
  int64_t parameters = 0;
};

// Gives the backend's memory back and forgets everything; also for weights of which only a part was loaded.
void release_weights(Backend& backend, ModelWeights& weights) noexcept;

// Throws "missing-tensor", "tensor-shape", "tensor-range" or "unreadable-file", naming tensor or file.
void bind_weights(ModelWeights& w, Backend& backend, const ModelConfig& config, const std::vector<TensorLocation>& tensors,
                  const Job& job);

// Matrices Normal(0, 0.02), norms 1 + Normal(0, 0.02), biases Normal(0, 0.02); every tensor its own stream of `seed`.
void random_weights(ModelWeights& w, Backend& backend, const ModelConfig& config, uint64_t seed, const Job& job);

}  // namespace steerlab
