// Kernels for AArch64 NEON: bf16 operands are widened while packing. Compiled on arm only.
#include "kernels.h"

#if defined(__aarch64__)
#include "simd_neon.h"

#include "row_kernels.h"

namespace steerlab {

const Kernels* kernels_neon() {
  static const Kernels table = kernel_table("neon");
  return &table;
}

}  // namespace steerlab
#else
namespace steerlab {
const Kernels* kernels_neon() { return nullptr; }
}  // namespace steerlab
#endif
