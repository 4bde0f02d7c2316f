// Instruction sets of this processor that have kernels here, best first; "plain" is always last.
#pragma once
#include <string>
#include <vector>

namespace steerlab {

std::vector<std::string> cpu_isas();

}  // namespace steerlab
