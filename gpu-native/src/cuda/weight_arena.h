// Device memory for weights: matrices loaded one after the other lie end to end.
//
// Neighbouring projections (q k v, gate up) then form one taller matrix, and one product serves them. Address space is reserved
// once and filled with physical chunks as it grows, so nothing is wasted or moved. A chunk is given back when no matrix is left in
// it; addresses are not used twice. Host code: address space comes from VirtualMemory.
#pragma once
#include <cstddef>
#include <map>
#include <memory>
#include <vector>

namespace steerlab {

class VirtualMemory {
 public:
  virtual ~VirtualMemory() = default;
  virtual size_t granularity() const = 0;
  virtual char* reserve(size_t bytes) = 0;               // null: refused
  virtual bool commit(char* at, size_t bytes) = 0;        // false: out of memory
  virtual void decommit(char* at, size_t bytes) = 0;      // the same range as one commit
  virtual void unreserve(char* at, size_t bytes) = 0;
};

class WeightArena {
 public:
  // Reserves the first of `address_bytes` that is not refused.
  WeightArena(std::unique_ptr<VirtualMemory> memory, const std::vector<size_t>& address_bytes);
  ~WeightArena();
  WeightArena(const WeightArena&) = delete;
  WeightArena& operator=(const WeightArena&) = delete;

  bool usable() const { return base_ != nullptr; }
  // 256-byte aligned; directly behind the last allocation when that one's size is a multiple of 256. Null: out of memory, nothing taken.
  void* allocate(size_t bytes);
  bool release(void* p);  // false: not from here
  size_t committed() const { return committed_; }
  size_t reserved() const { return address_bytes_; }
  int attempts() const { return attempts_; }  // reservations asked for
  size_t live() const { return allocations_.size(); }  // matrices

 private:
  void drop_unused(size_t chunk);

  std::unique_ptr<VirtualMemory> memory_;
  char* base_ = nullptr;
  int attempts_ = 0;
  size_t address_bytes_ = 0, chunk_ = 0, next_ = 0, committed_ = 0;
  std::vector<int> users_;                // matrices that touch a chunk; -1: not committed
  std::map<size_t, size_t> allocations_;  // offset -> bytes
};

// What to ask for on a card with this much memory. Addresses are not used twice, so best is room for several models of the card's
// size, one after the other; where so much is refused, for a few, and at the least for one and its spare.
std::vector<size_t> arena_sizes(size_t card_bytes);

// Of the device, through the driver's virtual memory calls; null where the driver lacks them.
std::unique_ptr<VirtualMemory> device_virtual_memory();

}  // namespace steerlab
