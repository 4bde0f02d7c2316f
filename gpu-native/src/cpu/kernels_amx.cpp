// Kernels for AMX: products of bf16 pairs on matrix registers, everything else as AVX-512.
#include "kernels.h"

#if defined(__AMX_BF16__) && defined(__AVX512BF16__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "simd_avx512.h"

#include "row_kernels.h"

#include "amx_kernels.h"

namespace steerlab {
namespace {

// GCC 12's __builtin_cpu_supports does not know AMX: leaf 7, EDX bits 22 (bf16) and 24 (tile).
bool processor_has_amx() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 22 & 1) && (d >> 24 & 1);
}

// Linux lends the registers' 8 KiB of state only to a process that asks; arch/x86/include/uapi/asm/prctl.h.
bool system_lends_registers() {
  constexpr long request_permission = 0x1023, tile_data = 18;
  return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
}

Kernels amx_table() {
  Kernels table = kernel_table("amx");
  table.tile_pairs = amx_tile_pairs;
  table.copy_pairs = amx_copy_pairs;
  table.gemm_group_pairs = amx_gemm_group_pairs;
  table.tile_pieces = amx_tile_pieces;
  table.gemm_group_pieces = amx_gemm_group<3>;
  table.drop_tile = amx_drop_tile;
  table.peak = amx_peak;
  return table;
}

}  // namespace

const Kernels* kernels_amx() {
  static const bool available = kernels_avx512bf16() && processor_has_amx() && system_lends_registers();
  static const Kernels table = amx_table();
  return available ? &table : nullptr;
}

}  // namespace steerlab
#else
namespace steerlab {
const Kernels* kernels_amx() { return nullptr; }
}  // namespace steerlab
#endif
