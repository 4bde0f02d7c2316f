// Failures of native code: thrown anywhere below addon.cpp, turned into a JS error with the same code at the call site.
#pragma once
#include <stdexcept>
#include <string>

namespace steerlab {

struct Error : std::runtime_error {
  std::string code;  // stable kebab-case: "out-of-memory", "bad-token", "disposed", "aborted", ...
  Error(std::string code_, const std::string& message) : std::runtime_error(message), code(std::move(code_)) {}
};

}  // namespace steerlab
