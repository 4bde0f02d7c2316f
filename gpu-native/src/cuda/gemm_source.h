// Where cuBLASLt may lie on this machine: an ordered list of things to give to dlopen, and the reasons for the order.
//
// 1. STEERLAB_CUBLASLT (a file or a folder; "own" forbids the library), 2. CUDA_HOME / CUDA_PATH, 3. the loader's own path,
// 4. the nvidia/*/lib folders of Python environments (VIRTUAL_ENV, CONDA_PREFIX, the python3 on PATH as named and at every
// link it leads through), 5. /usr/local/cuda. Newest major version first in each. Host code without CUDA.
//
// STEERLAB_BATCH_INVARIANT=1 forbids the library too: own kernels add every row's products in one order whatever the batch, so a
// row's bits depend on nothing but the row. cuBLASLt promises no such thing: we use one of its algorithms
// per bucket of row counts (gemm_bucket), except at row counts where that algorithm does not hold, which get one of their own.
#pragma once
#include <functional>
#include <string>
#include <vector>

namespace steerlab {

struct GemmCandidate {
  std::string file;   // for dlopen: a path, or a bare name for the loader's path
  std::string place;  // what led here, for messages: "CUDA_HOME", "loader path", ...
};

using Environment = std::function<std::string(const char*)>;  // "" when unset

// The setting that forbids the library, as "STEERLAB_CUBLASLT=own"; "" when none does.
std::string gemm_refusal(const Environment& environment);
// Files that exist (bare names are not checked). Empty when the library is forbidden.
std::vector<GemmCandidate> gemm_candidates(const Environment& environment);
std::string process_environment(const char* name);

// Rows of x are handled in buckets of at most 64 up to 1,024: one algorithm serves a bucket where it holds, so that a row's bits do
// not change with its neighbours inside it. Gives the largest row count of the bucket that holds `rows` (>= 1).
int gemm_bucket(int rows);

}  // namespace steerlab
