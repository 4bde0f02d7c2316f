// Kernels for AVX-512 (F, BW, VL, DQ) without bf16 dot products: bf16 operands are widened while packing.
#include "kernels.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
#include "simd_avx512.h"

#include "row_kernels.h"

namespace steerlab {

const Kernels* kernels_avx512() {
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl") ||
      !__builtin_cpu_supports("avx512dq"))
    return nullptr;
  static const Kernels table = kernel_table("avx512");
  return &table;
}

}  // namespace steerlab
#else
namespace steerlab {
const Kernels* kernels_avx512() { return nullptr; }
}  // namespace steerlab
#endif
