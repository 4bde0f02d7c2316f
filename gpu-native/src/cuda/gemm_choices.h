// Which of cuBLASLt's algorithms serves a product, kept in a file from run to run: the same choices give the same bytes.
//
// Algorithms are timed only under STEERLAB_CUBLASLT_TIME=1, which adds a line for every product that it meets for the first time. All
// other runs only read the file, so that what a run uses stands before it begins: digest() goes into the run's meta. The file is
// STEERLAB_CUBLASLT_CHOICES, else steerlab/cublaslt-choices.tsv in XDG_CACHE_HOME or ~/.cache; deleting it clears the choices, and
// STEERLAB_BATCH_INVARIANT=1 does without the library. Host code without CUDA.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "gemm_source.h"

namespace steerlab {

// An algorithm as the library hands it out; valid for the same version of the library and the same device.
struct GemmAlgorithm {
  uint64_t data[8] = {};
  uint64_t workspace = 0;
};

class GemmChoices {
 public:
  // device and version: lines of others are left alone.
  GemmChoices(const Environment& environment, const std::string& device, uint64_t version);

  bool timing() const { return timing_; }
  size_t count() const { return kept_.size(); }
  // 16 hexadecimal digits over all choices for this device and version.
  std::string digest() const;
  // product: numbers that tell it from others, tab-free.
  std::optional<GemmAlgorithm> find(const std::string& product) const;
  // Keeps the choice, also in the file; `note` is for its reader. Throws "gemm-choices" where it cannot be written.
  void add(const std::string& product, const GemmAlgorithm& algorithm, const std::string& note);

 private:
  std::string prefix_, file_;
  bool timing_ = false;
  std::map<std::string, GemmAlgorithm> kept_;
};

// "" where the environment names no place.
std::string gemm_choices_file(const Environment& environment);

}  // namespace steerlab
