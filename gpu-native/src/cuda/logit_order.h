// A total order on the tokens of a row as one integer key: falling logit, equal logits by rising id.
//
// Greater key = earlier. The upper half is the logit's bits mapped so that unsigned order is numeric order, the lower half is the
// complement of the id. Walking the digits of the keys from the top (a radix descent) finds the k-th token, or the token
// at which a cumulative weight is reached, without sorting.
#pragma once
#include "bf16.h"

namespace steerlab {

STEERLAB_HD inline uint64_t order_key(float logit, int32_t id) {
  const float plain = logit == 0.0f ? 0.0f : logit;  // -0 and 0 are equal
  const uint32_t u = logit == logit ? bits_of_float(plain) : 0x7fffffffu;  // NaN, whatever its sign, comes first: no one misses it
  const uint32_t ordered = u & 0x80000000u ? ~u : u | 0x80000000u;
  return (static_cast<uint64_t>(ordered) << 32) | (0xffffffffu - static_cast<uint32_t>(id));
}
STEERLAB_HD inline int32_t order_id(uint64_t key) { return static_cast<int32_t>(0xffffffffu - static_cast<uint32_t>(key)); }

// exp((logit - top) / temperature) in units of 2^-32: integers add up to the same sum in any order.
STEERLAB_HD inline uint64_t sampling_weight(float logit, float top, float temperature) {
  return static_cast<uint64_t>(static_cast<double>(expf((logit - top) / temperature)) * 4294967296.0);
}

// Smallest cumulative weight that counts as "reaches top_p", minus one: the target of the descent.
STEERLAB_HD inline uint64_t nucleus_target(uint64_t total, float top_p) {
  const double wanted = ceil(static_cast<double>(top_p) * static_cast<double>(total));
  if (wanted <= 1.0) return 0;
  const uint64_t target = static_cast<uint64_t>(wanted) - 1;
  return target < total ? target : total - 1;
}

}  // namespace steerlab
