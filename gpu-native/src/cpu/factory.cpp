// make_cpu_backend: picks the class for (activation type, instruction set). F64 always runs in plain loops.
#include "../error.h"
#include "fast.h"
#include "isa.h"

namespace steerlab {
namespace {

std::vector<const Kernels*> available() {
  std::vector<const Kernels*> tables;
  for (const Kernels* k : {kernels_amx(), kernels_avx512bf16(), kernels_avx512(), kernels_avx2(), kernels_neon()})
    if (k) tables.push_back(k);
  return tables;
}

std::unique_ptr<Backend> plain_backend(DType act, int threads) {
  if (act == DType::F64) return std::make_unique<PlainBackend<F64>>(threads);
  if (act == DType::F32) return std::make_unique<PlainBackend<F32>>(threads);
  return std::make_unique<PlainBackend<BF16>>(threads);
}

}  // namespace

std::vector<std::string> cpu_isas() {
  std::vector<std::string> names;
  for (const Kernels* k : available()) names.push_back(k->isa);
  names.push_back("plain");
  return names;
}

std::unique_ptr<Backend> make_cpu_backend(DType act, int threads, const std::string& isa) {
  if (act == DType::F16) throw Error("bad-dtype", "Expected f64, f32 or bf16 for the engine's dtype but received f16. Use bf16.");
  if (act == DType::F64 && isa.empty()) return plain_backend(act, threads);
  if (isa == "plain") return plain_backend(act, threads);
  for (const Kernels* k : available()) {
    if (!isa.empty() && isa != k->isa) continue;
    if (act == DType::F64) return plain_backend(act, threads);
    if (act == DType::F32) return std::make_unique<FastBackend<F32>>(threads, *k);
    return std::make_unique<FastBackend<BF16>>(threads, *k);
  }
  if (isa.empty()) return plain_backend(act, threads);
  std::string known;
  for (const std::string& name : cpu_isas()) known += (known.empty() ? "" : ", ") + name;
  throw Error("bad-isa", "Expected an instruction set of this processor for isa but received " + isa + ". It has " + known + ".");
}

}  // namespace steerlab
