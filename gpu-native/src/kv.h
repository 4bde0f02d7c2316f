// Keys and values: immutable blocks per layer, shared by caches that begin alike.
//
// A Cache is, for every layer, a list of blocks end to end. Continuing a cache never writes to it: the new cache lists the old
// blocks and adds its own. Chains longer than kMaxChain are copied into one block. Blocks are (len, KVH, D) of act type, after rotation.
#pragma once
#include <memory>
#include <vector>

#include "config.h"
#include "memory.h"

namespace steerlab {

struct KvBlock {
  std::shared_ptr<DeviceBuffer> storage;
  const void* k = nullptr;
  const void* v = nullptr;
  int len = 0;
};

struct Cache {
  int length = 0;
  std::vector<std::vector<KvBlock>> layers;  // [layer][block]
  size_t own_bytes = 0;                      // device bytes that came into being with this cache
};

constexpr int kMaxChain = 4;

// Room for the keys and values of `len` positions in layers [first_layer, layers).
class KvStore {
 public:
  KvStore(const std::shared_ptr<Memory>& memory, const ModelConfig& config, int first_layer, int layers, int len);
  KvBlock block(int layer) const;
  void* k(int layer) const;
  void* v(int layer) const;
  size_t bytes() const { return storage_->size(); }

 private:
  std::shared_ptr<DeviceBuffer> storage_;
  size_t half_ = 0;  // bytes of the keys of one layer
  int first_layer_ = 0, len_ = 0;
};

// The same positions with every layer in one block.
void compact(Cache& cache, const std::shared_ptr<Memory>& memory, const ModelConfig& config);

// How many leading layers of two caches are the very same blocks (not merely equal numbers).
int equal_layers(const Cache& a, const Cache& b);

}  // namespace steerlab
