#include "gemm_choices.h"

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "../error.h"

namespace steerlab {
namespace {

std::string text_of(const GemmAlgorithm& a) {
  std::string text = std::to_string(a.workspace);
  char word[20];
  for (const uint64_t d : a.data) {
    std::snprintf(word, sizeof word, " %016llx", static_cast<unsigned long long>(d));
    text += word;
  }
  return text;
}

std::optional<GemmAlgorithm> algorithm_of(const std::string& text) {
  std::istringstream in(text);
  GemmAlgorithm a;
  in >> a.workspace >> std::hex;
  for (uint64_t& d : a.data) in >> d;
  return in ? std::optional(a) : std::nullopt;
}

}  // namespace

std::string gemm_choices_file(const Environment& environment) {
  const std::string chosen = environment("STEERLAB_CUBLASLT_CHOICES"), cache = environment("XDG_CACHE_HOME"), home = environment("HOME");
  if (!chosen.empty()) return chosen;
  if (!cache.empty()) return cache + "/steerlab/cublaslt-choices.tsv";
  return home.empty() ? "" : home + "/.cache/steerlab/cublaslt-choices.tsv";
}

GemmChoices::GemmChoices(const Environment& environment, const std::string& device, uint64_t version)
    : prefix_(device + "\t" + std::to_string(version) + "\t"), file_(gemm_choices_file(environment)),
      timing_(environment("STEERLAB_CUBLASLT_TIME") == "1") {
  if (file_.empty()) return;
  std::ifstream in(file_);
  for (std::string line; std::getline(in, line);) {
    if (line.rfind(prefix_, 0) != 0) continue;
    const size_t product = prefix_.size(), algorithm = line.find('\t', product);
    if (algorithm == std::string::npos) continue;
    const auto found = algorithm_of(line.substr(algorithm + 1, line.find('\t', algorithm + 1) - algorithm - 1));
    if (found) kept_.emplace(line.substr(product, algorithm - product), *found);  // of two the first: runs may already rest on it
  }
}

std::string GemmChoices::digest() const {
  uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a
  for (const auto& [product, algorithm] : kept_)
    for (const char c : product + "\t" + text_of(algorithm) + "\n") hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  char text[20];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

std::optional<GemmAlgorithm> GemmChoices::find(const std::string& product) const {
  const auto at = kept_.find(product);
  return at == kept_.end() ? std::nullopt : std::optional(at->second);
}

void GemmChoices::add(const std::string& product, const GemmAlgorithm& algorithm, const std::string& note) {
  if (!kept_.emplace(product, algorithm).second) return;
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(file_).parent_path(), ignored);
  std::ofstream out(file_, std::ios::app);
  out << prefix_ + product + "\t" + text_of(algorithm) + "\t" + note + "\n" << std::flush;  // one write: processes may add at once
  if (!out)
    throw Error("gemm-choices", "Expected to keep cuBLASLt's timed algorithms in " + (file_.empty() ? "a file" : file_) +
                                    " but it cannot be written. Name another one in STEERLAB_CUBLASLT_CHOICES.");
}

}  // namespace steerlab
