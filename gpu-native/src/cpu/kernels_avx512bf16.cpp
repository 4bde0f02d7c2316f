// Kernels for AVX-512 with vdpbf16ps: two bf16 products per lane and instruction, accumulated in f32.
#include "kernels.h"

#if defined(__AVX512BF16__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
#include "simd_avx512.h"

#include "row_kernels.h"

namespace steerlab {

const Kernels* kernels_avx512bf16() {
  if (!kernels_avx512() || !__builtin_cpu_supports("avx512bf16")) return nullptr;
  static const Kernels table = kernel_table("avx512bf16");
  return &table;
}

}  // namespace steerlab
#else
namespace steerlab {
const Kernels* kernels_avx512bf16() { return nullptr; }
}  // namespace steerlab
#endif
