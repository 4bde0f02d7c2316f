#include "block_pool.h"

#include <algorithm>

namespace steerlab {
namespace {

constexpr size_t kUnit = 512;               // sizes are multiples of it
constexpr size_t kSmall = size_t(8) << 20;  // requests up to this share segments
constexpr size_t kSmallSegment = size_t(32) << 20;
constexpr size_t kPage = size_t(2) << 20;  // granularity of large segments

size_t round_up(size_t v, size_t unit) { return (v + unit - 1) / unit * unit; }

}  // namespace

BlockPool::BlockPool(std::function<void*(size_t)> acquire, std::function<void(void*)> give_back)
    : acquire_(std::move(acquire)), give_back_(std::move(give_back)) {}

BlockPool::~BlockPool() {
  for (auto& entry : blocks_)
    if (entry.second.segment_start) give_back_(entry.first);
}

void* BlockPool::allocate(size_t bytes) {
  const size_t size = round_up(std::max<size_t>(bytes, 1), kUnit);
  const bool small = size <= kSmall;
  const auto& free = small ? free_small_ : free_large_;
  auto fit = free.lower_bound({size, nullptr});
  if (fit != free.end()) return take(blocks_.find(fit->second), size);
  const size_t segment = small ? kSmallSegment : round_up(size, kPage);
  if (!add_segment(segment, small)) {
    trim();
    if (!add_segment(segment, small) && (segment == size || !add_segment(size, small))) {
      const auto any = free_large_.lower_bound({size, nullptr});  // better a hole parted than none
      return any == free_large_.end() ? nullptr : take(blocks_.find(any->second), size);
    }
  }
  fit = free.lower_bound({size, nullptr});
  return take(blocks_.find(fit->second), size);
}

bool BlockPool::add_segment(size_t bytes, bool small) {
  char* start = static_cast<char*>(acquire_(bytes));
  if (!start) return false;
  const Block& block = blocks_[start] = {start, bytes, true, true, small};
  free_of(block).insert({bytes, start});
  reserved_ += bytes;
  peak_reserved_ = std::max(peak_reserved_, reserved_);
  return true;
}

void* BlockPool::take(Blocks::iterator entry, size_t size) {
  Block& block = entry->second;
  free_of(block).erase({block.size, block.start});
  if (block.size > size) {
    const Block rest{block.start + size, block.size - size, true, false, block.small};
    blocks_[rest.start] = rest;
    free_of(rest).insert({rest.size, rest.start});
    block.size = size;
  }
  block.free = false;
  used_ += size;
  peak_used_ = std::max(peak_used_, used_);
  return block.start;
}

bool BlockPool::release(void* p) {
  auto entry = blocks_.find(static_cast<char*>(p));
  if (entry == blocks_.end() || entry->second.free) return false;
  used_ -= entry->second.size;
  entry->second.free = true;
  const auto next = std::next(entry);
  if (next != blocks_.end() && next->second.free && !next->second.segment_start) {
    free_of(next->second).erase({next->second.size, next->second.start});
    entry->second.size += next->second.size;
    blocks_.erase(next);
  }
  if (!entry->second.segment_start && entry != blocks_.begin()) {
    const auto before = std::prev(entry);
    if (before->second.free) {
      free_of(before->second).erase({before->second.size, before->second.start});
      before->second.size += entry->second.size;
      blocks_.erase(entry);
      entry = before;
    }
  }
  free_of(entry->second).insert({entry->second.size, entry->second.start});
  return true;
}

size_t BlockPool::trim() {
  size_t freed = 0;
  for (auto entry = blocks_.begin(); entry != blocks_.end();) {
    const auto next = std::next(entry);
    const bool whole = entry->second.free && entry->second.segment_start && (next == blocks_.end() || next->second.segment_start);
    if (whole) {
      free_of(entry->second).erase({entry->second.size, entry->second.start});
      give_back_(entry->second.start);
      freed += entry->second.size;
      reserved_ -= entry->second.size;
      blocks_.erase(entry);
    }
    entry = next;
  }
  return freed;
}

}  // namespace steerlab
