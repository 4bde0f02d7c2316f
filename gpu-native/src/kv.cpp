#include "kv.h"

namespace steerlab {

KvStore::KvStore(const std::shared_ptr<Memory>& memory, const ModelConfig& config, int first_layer, int layers, int len)
    : first_layer_(first_layer), len_(len) {
  half_ = static_cast<size_t>(len) * config.kv_width() * bytes_of(memory->backend().act());
  storage_ = std::make_shared<DeviceBuffer>(memory, 2 * half_ * static_cast<size_t>(layers - first_layer));
}

void* KvStore::k(int layer) const { return storage_->bytes_at(2 * half_ * static_cast<size_t>(layer - first_layer_)); }
void* KvStore::v(int layer) const { return storage_->bytes_at(2 * half_ * static_cast<size_t>(layer - first_layer_) + half_); }
KvBlock KvStore::block(int layer) const { return {storage_, k(layer), v(layer), len_}; }

void compact(Cache& cache, const std::shared_ptr<Memory>& memory, const ModelConfig& config) {
  Backend& backend = memory->backend();
  const int layers = static_cast<int>(cache.layers.size());
  const KvStore store(memory, config, 0, layers, cache.length);
  const size_t width = static_cast<size_t>(config.kv_width()) * bytes_of(backend.act());
  for (int l = 0; l < layers; ++l) {
    size_t at = 0;
    for (const KvBlock& block : cache.layers[static_cast<size_t>(l)]) {
      const size_t bytes = static_cast<size_t>(block.len) * width;
      backend.copy(static_cast<char*>(store.k(l)) + at, block.k, bytes);
      backend.copy(static_cast<char*>(store.v(l)) + at, block.v, bytes);
      at += bytes;
    }
    cache.layers[static_cast<size_t>(l)] = {store.block(l)};
  }
  cache.own_bytes += store.bytes();
}

int equal_layers(const Cache& a, const Cache& b) {
  size_t l = 0;
  for (; l < a.layers.size() && l < b.layers.size(); ++l) {
    const auto& x = a.layers[l];
    const auto& y = b.layers[l];
    if (x.size() != y.size()) break;
    bool same = true;
    for (size_t i = 0; i < x.size(); ++i) same = same && x[i].k == y[i].k && x[i].len == y[i].len;
    if (!same) break;
  }
  return static_cast<int>(l);
}

}  // namespace steerlab
