// make_cpu_backend: picks the class for (activation type, instruction set).
#include "../error.h"
#include "plain.h"

namespace steerlab {

std::unique_ptr<Backend> make_cpu_backend(DType act, int threads, const std::string& isa) {
  if (isa.empty() || isa == "plain") {
    if (act == DType::F64) return std::make_unique<PlainBackend<F64>>(threads);
    if (act == DType::F32) return std::make_unique<PlainBackend<F32>>(threads);
    if (act == DType::BF16) return std::make_unique<PlainBackend<BF16>>(threads);
    throw Error("bad-dtype", "Expected dtype f64, f32 or bf16 for the engine but received f16.");
  }
  throw Error("bad-isa", "Expected one of plain for isa but received " + isa + ".");
}

}  // namespace steerlab
