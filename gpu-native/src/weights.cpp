#include "weights.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>
#include <thread>
#include <unordered_map>

#include "error.h"
#include "halves.h"
#include "rng.h"

namespace steerlab {

MappedFile::MappedFile(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) throw Error("unreadable-file", "Could not open " + path + ": " + std::strerror(errno) + ".");
  struct stat info {};
  if (::fstat(fd, &info) != 0 || info.st_size <= 0) {
    ::close(fd);
    throw Error("unreadable-file", "Could not read " + path + ": the file is empty or has no size.");
  }
  size_ = info.st_size;
  void* p = ::mmap(nullptr, static_cast<size_t>(size_), PROT_READ, MAP_PRIVATE, fd, 0);
  const int failure = errno;
  ::close(fd);
  if (p == MAP_FAILED) throw Error("unreadable-file", "Could not map " + path + ": " + std::strerror(failure) + ".");
  data_ = static_cast<const char*>(p);
  ::madvise(p, static_cast<size_t>(size_), MADV_WILLNEED);
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(const_cast<char*>(data_), static_cast<size_t>(size_));
}

namespace {
constexpr size_t kHugePage = size_t{2} << 20;
}

// Whole huge pages, as the backend's own weights: products read them a row at a time.
DecodedTensor::DecodedTensor(size_t bytes) {
  const size_t size = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  data = std::aligned_alloc(bytes < kHugePage ? 256 : kHugePage, bytes < kHugePage ? (bytes + 255) / 256 * 256 : size);
  if (!data) {
    throw Error("out-of-memory", "Expected " + std::to_string(bytes) + " bytes of memory for a tensor but the system gave none. "
                                 "Use a smaller model, or dtype bf16.");
  }
#ifdef MADV_HUGEPAGE
  if (bytes >= kHugePage) ::madvise(data, size, MADV_HUGEPAGE);
#endif
}

DecodedTensor::~DecodedTensor() { std::free(data); }

namespace {

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

// First element of [from, to) whose exponent is all ones (NaN or infinity), or -1. In blocks without a branch inside, so that it
// runs at the speed of memory: the pages are read here for the first time, which loading or the first pass would do anyway.
template <typename Bits>
int64_t first_not_finite(const void* data, int64_t from, int64_t to, Bits exponent) {
  constexpr int64_t kBlock = 4096;
  const char* bytes = static_cast<const char*>(data);
  const auto bad_at = [&](int64_t i) {
    Bits x;
    std::memcpy(&x, bytes + i * static_cast<int64_t>(sizeof x), sizeof x);
    return static_cast<unsigned>((x & exponent) == exponent);
  };
  for (int64_t begin = from; begin < to; begin += kBlock) {
    const int64_t end = std::min(to, begin + kBlock);
    unsigned bad = 0;
    for (int64_t i = begin; i < end; ++i) bad |= bad_at(i);
    if (!bad) continue;
    for (int64_t i = begin; i < end; ++i)
      if (bad_at(i)) return i;
  }
  return -1;
}

int64_t first_not_finite(const HostTensor& t, int64_t from, int64_t to) {
  switch (t.type) {
    case DType::F64: return first_not_finite<uint64_t>(t.data, from, to, 0x7ff0000000000000u);
    case DType::F32: return first_not_finite<uint32_t>(t.data, from, to, 0x7f800000u);
    case DType::BF16: return first_not_finite<uint16_t>(t.data, from, to, 0x7f80u);
    case DType::F16: return first_not_finite<uint16_t>(t.data, from, to, 0x7c00u);
  }
  return -1;
}

// Several threads, because each waits for the pages it is the first to read: one alone brings in a 65 GB checkpoint slowly.
int64_t first_not_finite(const HostTensor& t) {
  constexpr int64_t kShare = 1 << 20;  // elements that are worth a thread
  constexpr int64_t kMostThreads = 16;
  const int64_t count = t.rows * t.cols, cores = std::max(1u, std::thread::hardware_concurrency());
  const int64_t threads = std::max<int64_t>(1, std::min({kMostThreads, cores, count / kShare}));
  std::vector<int64_t> found(static_cast<size_t>(threads), -1);
  const auto scan = [&](int64_t i) { found[static_cast<size_t>(i)] = first_not_finite(t, count * i / threads, count * (i + 1) / threads); };
  std::vector<std::thread> workers;
  for (int64_t i = 1; i < threads; ++i) workers.emplace_back(scan, i);
  scan(0);
  for (std::thread& worker : workers) worker.join();
  for (const int64_t bad : found)
    if (bad >= 0) return bad;
  return -1;
}

// Bytes that `count` values take in the file, or -1 where a row is not a whole number of blocks.
int64_t stored_bytes(const TensorLocation& t, int64_t count) {
  if (!t.blocks) return count * static_cast<int64_t>(bytes_of(t.dtype));
  return t.shape.back() % t.blocks->values == 0 ? count / t.blocks->values * t.blocks->bytes : -1;
}

// Finds tensors by name, maps each file once and decodes quantised ones to `compute` (F32 or BF16).
class Checkpoint {
 public:
  Checkpoint(const std::vector<TensorLocation>& tensors, ModelWeights& owner, DType compute) : owner_(owner), compute_(compute) {
    for (const TensorLocation& t : tensors) by_name_[t.name] = &t;
  }

  bool has(const std::string& name) const { return by_name_.count(name) != 0; }

  HostTensor find(const std::string& name, const std::vector<int64_t>& shape) {
    const auto found = by_name_.find(name);
    if (found == by_name_.end()) {
      throw Error("missing-tensor", "Expected tensor " + name + " in the checkpoint but it is not there. " +
                                        "Check that all shards are present and that this is a Qwen2 checkpoint.");
    }
    const TensorLocation& t = *found->second;
    if (t.shape != shape) {
      throw Error("tensor-shape", "Expected shape " + shape_text(shape) + " for tensor " + name + " but received " +
                                      shape_text(t.shape) + ". config.json and the weights do not belong together.");
    }
    int64_t count = 1;
    for (const int64_t d : shape) count *= d;
    const MappedFile& file = map(t.file);
    const int64_t bytes = stored_bytes(t, count);
    if (bytes < 0 || t.byte_length != bytes || t.byte_offset < 0 || t.byte_offset > file.size() - bytes) {
      throw Error("tensor-range", "Expected " + std::to_string(bytes) + " bytes inside the file for tensor " + name + " but received [" +
                                      std::to_string(t.byte_offset) + ", " + std::to_string(t.byte_offset + t.byte_length) + ") of " +
                                      std::to_string(file.size()) + ". The file is damaged or cut short.");
    }
    HostTensor host{};
    host.data = t.blocks ? decoded(t, file, count) : file.data() + t.byte_offset;
    host.type = t.blocks ? compute_ : t.dtype;
    host.rows = shape.size() == 2 ? shape[0] : 1;
    host.cols = shape.back();
    const int64_t bad = first_not_finite(host);
    if (bad >= 0) {
      throw Error("tensor-values", "Expected finite numbers for tensor " + name + " but received NaN or infinity in row " +
                                       std::to_string(bad / host.cols) + ", column " + std::to_string(bad % host.cols) +
                                       ". The checkpoint is damaged (" + t.file + ").");
    }
    return host;
  }

 private:
  const MappedFile& map(const std::string& path) {
    MappedFile*& slot = by_path_[path];
    if (!slot) {
      owner_.files.push_back(std::make_unique<MappedFile>(path));
      slot = owner_.files.back().get();
    }
    return *slot;
  }

  const void* decoded(const TensorLocation& t, const MappedFile& file, int64_t count) {
    owner_.decoded.push_back(std::make_unique<DecodedTensor>(static_cast<size_t>(count) * bytes_of(compute_)));
    void* data = owner_.decoded.back()->data;
    decode_blocks(*t.blocks, file.data() + t.byte_offset, count, compute_, data);
    return data;
  }

  std::unordered_map<std::string, const TensorLocation*> by_name_;
  std::map<std::string, MappedFile*> by_path_;
  ModelWeights& owner_;
  DType compute_;
};

// Progress counts matrices; vectors are nothing beside them.
int64_t layer_parameters(const ModelConfig& c) {
  int64_t count = 0;
  for (int p = 0; p < kProjections; ++p) count += static_cast<int64_t>(projection_in(c, p)) * projection_out(c, p);
  return count;
}

int64_t matrix_parameters(const ModelConfig& c) {
  return c.num_hidden_layers * layer_parameters(c) + (c.tie_word_embeddings ? 1ll : 2ll) * c.vocab_size * c.hidden_size;
}

constexpr float kRandomStd = 0.02f;

// Element i of stream s depends on (seed, s, i) only.
std::vector<float> normal_vector(int count, float mean, uint64_t seed, uint32_t stream) {
  std::vector<float> out;
  for (int i = 0; i < count; ++i) {
    const Philox4 w = philox(static_cast<uint32_t>(i), 0, stream, 0x76656374u, seed);
    double pair[2];
    normal_pair(pair, w.w[0], w.w[1]);
    out.push_back(mean + kRandomStd * static_cast<float>(pair[0]));
  }
  return out;
}

}  // namespace

void release_weights(Backend& backend, ModelWeights& weights) noexcept {
  for (const void* data : weights.loaded) {
    try {
      backend.release_weight(data);
    } catch (...) {
      // A device that fails while freeing has already reported through the call that broke it.
    }
  }
  weights = ModelWeights{};
}

void bind_weights(ModelWeights& w, Backend& backend, const ModelConfig& c, const std::vector<TensorLocation>& tensors,
                  const Job& job) {
  Checkpoint checkpoint(tensors, w, backend.act() == DType::BF16 ? DType::BF16 : DType::F32);
  // a device has copies of its own: what was decoded for it would only double the model
  const auto drop_decoded = [&] {
    if (!backend.weights_in_place()) w.decoded.clear();
  };
  const double total = static_cast<double>(matrix_parameters(c));
  double done = 0;
  const auto matrix = [&](const std::string& name, int64_t rows, int64_t cols) {
    job.checkpoint();
    const Weight made = backend.load_matrix(checkpoint.find(name, {rows, cols}));
    w.loaded.push_back(made.data);
    w.parameters += rows * cols;
    drop_decoded();
    job.report(done += static_cast<double>(rows * cols), total);
    return made;
  };
  const auto vector = [&](const std::string& name, int64_t count) {
    w.parameters += count;
    const float* made = backend.load_vector(checkpoint.find(name, {count}));
    w.loaded.push_back(made);
    drop_decoded();
    return made;
  };

  w.embed = matrix("model.embed_tokens.weight", c.vocab_size, c.hidden_size);
  for (int l = 0; l < c.num_hidden_layers; ++l) {
    LayerWeights layer;
    layer.input_norm = vector(layer_prefix(l) + "input_layernorm.weight", c.hidden_size);
    layer.post_attention_norm = vector(layer_prefix(l) + "post_attention_layernorm.weight", c.hidden_size);
    for (int p = 0; p < kProjections; ++p) {
      const std::string path = projection_path(l, p);
      layer.projection[p] = matrix(path + ".weight", projection_out(c, p), projection_in(c, p));
      if (checkpoint.has(path + ".bias")) layer.projection[p].bias = vector(path + ".bias", projection_out(c, p));
    }
    w.layers.push_back(layer);
  }
  w.final_norm = vector("model.norm.weight", c.hidden_size);
  w.head = c.tie_word_embeddings ? w.embed : matrix("lm_head.weight", c.vocab_size, c.hidden_size);
  backend.synchronize();
  // a device has copies of its own: the mapping would only keep the checkpoint's pages in memory
  if (!backend.weights_in_place()) w.files.clear();
}

void random_weights(ModelWeights& w, Backend& backend, const ModelConfig& c, uint64_t seed, const Job& job) {
  uint32_t stream = 0;
  const double total = static_cast<double>(matrix_parameters(c));
  double done = 0;
  const auto matrix = [&](int rows, int cols) {
    job.checkpoint();
    w.parameters += static_cast<int64_t>(rows) * cols;
    const Weight made = backend.random_matrix(rows, cols, kRandomStd, seed, stream++);
    w.loaded.push_back(made.data);
    job.report(done += static_cast<double>(rows) * cols, total);
    return made;
  };
  const auto vector = [&](int count, float mean, bool half = false) {
    w.parameters += count;
    w.made.push_back(normal_vector(count, mean, seed, stream++));
    if (half)
      for (float& v : w.made.back()) v = to_float(to_bf16(v));
    const float* made = backend.load_vector(HostTensor{w.made.back().data(), DType::F32, 1, count});
    w.loaded.push_back(made);
    return made;
  };

  w.embed = matrix(c.vocab_size, c.hidden_size);
  for (int l = 0; l < c.num_hidden_layers; ++l) {
    LayerWeights layer;
    layer.input_norm = vector(c.hidden_size, 1);
    layer.post_attention_norm = vector(c.hidden_size, 1);
    for (int p = 0; p < kProjections; ++p) {
      layer.projection[p] = matrix(projection_out(c, p), projection_in(c, p));
      if (p == kQ || p == kK || p == kV) layer.projection[p].bias = vector(projection_out(c, p), 0, backend.act() == DType::BF16);  // as checkpoints hold them
    }
    w.layers.push_back(layer);
  }
  w.final_norm = vector(c.hidden_size, 1);
  w.head = c.tie_word_embeddings ? w.embed : matrix(c.vocab_size, c.hidden_size);
  backend.synchronize();
}

}  // namespace steerlab
