#include "gemm_source.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>

namespace fs = std::filesystem;

namespace steerlab {
namespace {

const char* const kNames[] = {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"};

class Search {
 public:
  void file(const std::string& path, const std::string& place) {
    std::error_code ignored;
    if (!fs::is_regular_file(path, ignored)) return;
    const bool known = std::any_of(found.begin(), found.end(), [&](const GemmCandidate& c) { return c.file == path; });
    if (!known) found.push_back({path, place});
  }
  void folder(const std::string& path, const std::string& place) {
    for (const char* name : kNames) file((fs::path(path) / name).string(), place);
  }
  // <prefix>/lib/python3.*/{site,dist}-packages/nvidia/*/lib
  void python_prefix(const std::string& prefix, const std::string& place) {
    if (prefix.empty()) return;
    for (const fs::path& lib : entries(fs::path(prefix) / "lib")) {
      if (lib.filename().string().rfind("python3", 0) != 0) continue;
      for (const char* packages : {"site-packages", "dist-packages"})
        for (const char* name : kNames)
          for (const fs::path& part : entries(lib / packages / "nvidia")) file((part / "lib" / name).string(), place);
    }
  }

  std::vector<GemmCandidate> found;

 private:
  static std::vector<fs::path> entries(const fs::path& folder) {
    std::vector<fs::path> out;
    std::error_code failure;
    for (fs::directory_iterator it(folder, failure), end; !failure && it != end; it.increment(failure)) out.push_back(it->path());
    std::sort(out.begin(), out.end(), std::greater<>());  // newest version name first
    return out;
  }
};

// The folders above bin/ of the first python3 on PATH: as named, then of everything it links to in turn. A link into an environment
// leads to the environment's packages, the environment's own link to the interpreter's.
std::vector<std::string> python_prefixes_of(const std::string& path) {
  constexpr int kMostLinks = 16;
  std::vector<std::string> prefixes;
  for (size_t begin = 0; begin < path.size();) {
    const size_t end = std::min(path.find(':', begin), path.size());
    fs::path at = fs::path(path.substr(begin, end - begin)) / "python3";
    std::error_code failure;
    begin = end + 1;
    if (!fs::exists(at, failure)) continue;
    for (int links = 0; links < kMostLinks; ++links) {
      prefixes.push_back(at.parent_path().parent_path().string());
      if (!fs::is_symlink(at, failure)) break;
      at = (at.parent_path() / fs::read_symlink(at, failure)).lexically_normal();
    }
    break;
  }
  return prefixes;
}

}  // namespace

std::string process_environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

std::string gemm_refusal(const Environment& environment) {
  if (environment("STEERLAB_BATCH_INVARIANT") == "1") return "STEERLAB_BATCH_INVARIANT=1";
  return environment("STEERLAB_CUBLASLT") == "own" ? "STEERLAB_CUBLASLT=own" : "";
}

std::vector<GemmCandidate> gemm_candidates(const Environment& environment) {
  if (!gemm_refusal(environment).empty()) return {};
  Search search;
  const std::string chosen = environment("STEERLAB_CUBLASLT");
  if (!chosen.empty()) {
    search.file(chosen, "STEERLAB_CUBLASLT");
    search.folder(chosen, "STEERLAB_CUBLASLT");
  }
  for (const char* name : {"CUDA_HOME", "CUDA_PATH"}) {
    const std::string home = environment(name);
    if (home.empty()) continue;
    for (const char* sub : {"lib64", "lib", "targets/x86_64-linux/lib", "targets/sbsa-linux/lib"})
      search.folder((fs::path(home) / sub).string(), name);
  }
  for (const char* name : kNames) search.found.push_back({name, "loader path"});
  search.python_prefix(environment("VIRTUAL_ENV"), "VIRTUAL_ENV");
  search.python_prefix(environment("CONDA_PREFIX"), "CONDA_PREFIX");
  for (const std::string& prefix : python_prefixes_of(environment("PATH"))) {
    search.python_prefix(prefix, "python3 on PATH");
    if (prefix == "/usr") search.python_prefix("/usr/local", "python3 on PATH");
  }
  for (const char* sub : {"lib64", "targets/x86_64-linux/lib", "targets/sbsa-linux/lib"})
    search.folder((fs::path("/usr/local/cuda") / sub).string(), "/usr/local/cuda");
  return search.found;
}

int gemm_bucket(int rows) {
  const auto up = [rows](int unit) { return (rows + unit - 1) / unit * unit; };
  if (rows <= 16) return 16;
  if (rows <= 32) return 32;
  if (rows <= 1024) return up(64);
  if (rows <= 4096) return up(512);
  return up(4096);
}

}  // namespace steerlab
