// Device memory for activations and caches: a best-fit pool over large segments, so that steps never wait for the driver.
//
// A released block may be handed out again at once: all work runs on one stream, in call order. Neighbouring free blocks merge;
// whole free segments go back to the driver when it refuses a new one. Small requests have segments of their own, so that a cache that
// stays does not sit in the middle of a hole that the next large workspace needs. Host code without CUDA: segments come from callbacks.
#pragma once
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <unordered_map>

namespace steerlab {

class BlockPool {
 public:
  // acquire gives 256-byte aligned memory or null; give_back frees it.
  BlockPool(std::function<void*(size_t)> acquire, std::function<void(void*)> give_back);
  ~BlockPool();
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  // Null when the driver has no more. 256-byte aligned.
  void* allocate(size_t bytes);
  // False when p is no live block of this pool.
  bool release(void* p);
  // Returns wholly free segments to the driver; gives their bytes.
  size_t trim();

  size_t used() const { return used_; }          // bytes in live blocks
  size_t reserved() const { return reserved_; }  // bytes in segments
  size_t peak_used() const { return peak_used_; }
  size_t peak_reserved() const { return peak_reserved_; }

 private:
  struct Block {
    char* start;
    size_t size;
    bool free;
    bool segment_start;  // first of its segment: never merged with the block before it
    bool small;          // of a segment for small requests
  };
  using Blocks = std::map<char*, Block>;  // all blocks by address

  bool add_segment(size_t bytes, bool small);
  std::set<std::pair<size_t, char*>>& free_of(const Block& block) { return block.small ? free_small_ : free_large_; }
  void* take(Blocks::iterator block, size_t bytes);

  std::function<void*(size_t)> acquire_;
  std::function<void(void*)> give_back_;
  Blocks blocks_;
  std::set<std::pair<size_t, char*>> free_small_, free_large_;  // (size, start)
  size_t used_ = 0, reserved_ = 0, peak_used_ = 0, peak_reserved_ = 0;
};

}  // namespace steerlab
