#include "weight_arena.h"

#include <algorithm>

namespace steerlab {
namespace {

constexpr size_t kChunk = size_t(64) << 20, kAlign = 256;

size_t round_up(size_t v, size_t unit) { return (v + unit - 1) / unit * unit; }

}  // namespace

std::vector<size_t> arena_sizes(size_t card_bytes) { return {16 * card_bytes, 4 * card_bytes, card_bytes + card_bytes / 4}; }

WeightArena::WeightArena(std::unique_ptr<VirtualMemory> memory, const std::vector<size_t>& address_bytes) : memory_(std::move(memory)) {
  if (!memory_) return;
  chunk_ = round_up(kChunk, memory_->granularity());
  for (const size_t bytes : address_bytes) {
    const size_t whole = round_up(bytes, chunk_);
    ++attempts_;
    base_ = memory_->reserve(whole);
    if (!base_) continue;
    address_bytes_ = whole;
    users_.assign(whole / chunk_, -1);
    return;
  }
}

WeightArena::~WeightArena() {
  if (!base_) return;
  for (size_t i = 0; i < users_.size(); ++i)
    if (users_[i] >= 0) memory_->decommit(base_ + i * chunk_, chunk_);
  memory_->unreserve(base_, address_bytes_);
}

void* WeightArena::allocate(size_t bytes) {
  const size_t size = std::max<size_t>(bytes, 1), at = round_up(next_, kAlign);
  if (!base_ || at + size > address_bytes_) return nullptr;
  const size_t first = at / chunk_, last = (at + size - 1) / chunk_;
  for (size_t i = first; i <= last; ++i) {
    if (users_[i] >= 0) continue;
    if (memory_->commit(base_ + i * chunk_, chunk_)) {
      users_[i] = 0;
      committed_ += chunk_;
      continue;
    }
    for (size_t added = first; added < i; ++added) drop_unused(added);
    return nullptr;
  }
  for (size_t i = first; i <= last; ++i) ++users_[i];
  allocations_[at] = size;
  next_ = at + size;
  return base_ + at;
}

bool WeightArena::release(void* p) {
  if (!base_ || p < base_ || p >= base_ + address_bytes_) return false;
  const auto found = allocations_.find(static_cast<size_t>(static_cast<char*>(p) - base_));
  if (found == allocations_.end()) return false;
  const size_t first = found->first / chunk_, last = (found->first + found->second - 1) / chunk_;
  allocations_.erase(found);
  for (size_t i = first; i <= last; ++i) {
    --users_[i];
    drop_unused(i);
  }
  return true;
}

// The chunk that the next matrix will start in is kept: its addresses are still to be used.
void WeightArena::drop_unused(size_t i) {
  if (users_[i] != 0 || i == next_ / chunk_) return;
  memory_->decommit(base_ + i * chunk_, chunk_);
  users_[i] = -1;
  committed_ -= chunk_;
}

}  // namespace steerlab
