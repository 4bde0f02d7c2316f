// Kernels for AVX2 with FMA: bf16 operands are widened while packing.
#include "kernels.h"

#if defined(__AVX2__) && defined(__FMA__)
#include "simd_avx2.h"

#include "row_kernels.h"

namespace steerlab {

const Kernels* kernels_avx2() {
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return nullptr;
  static const Kernels table = kernel_table("avx2");
  return &table;
}

}  // namespace steerlab
#else
namespace steerlab {
const Kernels* kernels_avx2() { return nullptr; }
}  // namespace steerlab
#endif
