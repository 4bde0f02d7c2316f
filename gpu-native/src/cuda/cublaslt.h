// cuBLASLt, opened at run time with prototypes written out here: built without its headers, shipped without the library.
//
// Matrices here are row-major, the library's are column-major: y = x W^T is asked for as y^T = W x^T. F32 sums, no split over the
// depth (its reductions would depend on the shape). The library's heuristic is asked once per (shape, bucket of rows) and its
// first answer is kept, so a run repeats itself and rows of one bucket do not depend on their neighbours. Rows of different buckets
// may differ in the last bits (STEERLAB_BATCH_INVARIANT=1 does without the library). Where the bucket has no answer, or its
// answer does not hold for a row count, that row count is asked for by itself.
#pragma once
#include <map>
#include <memory>
#include <set>
#include <string>
#include <tuple>

#include "gemm_source.h"
#include "kernels.h"

namespace steerlab {

struct CublasLtCalls;  // function pointers

class CublasLt {
 public:
  // Null when no candidate opens; `report` says what was opened or tried.
  static std::unique_ptr<CublasLt> open(const std::vector<GemmCandidate>& candidates, std::string& report);
  ~CublasLt();

  // bf16 x bf16 -> bf16 or float. False, doing nothing, where the library cannot serve the shape or alignment.
  bool run(cudaStream_t stream, const gpu::Gemm& g, bool float_output);

 private:
  CublasLt() = default;
  // gradient, float output, cols, depth, ldx, ldw, ldy
  using ShapeKey = std::tuple<bool, bool, int, int, int, int, int>;
  struct Algorithm {
    bool usable = false;
    uint64_t data[8] = {};
    size_t workspace = 0;
  };
  struct Layouts {
    void *w = nullptr, *x = nullptr, *y = nullptr;
  };
  // The library's answer for `rows` rows, which may be the ceiling of a bucket.
  const Algorithm& algorithm(const ShapeKey& shape, int rows);
  const Layouts& layouts(const ShapeKey& shape, int rows);
  Layouts make_layouts(const ShapeKey& shape, int rows);

  std::unique_ptr<CublasLtCalls> calls_;
  void* handle_ = nullptr;
  void* operation_[2] = {};  // [gradient]
  void* workspace_ = nullptr;
  std::map<std::pair<ShapeKey, int>, Algorithm> algorithms_;     // by the rows that were asked for
  std::set<std::tuple<ShapeKey, int, int>> unfit_;               // asked for, rows: an answer that does not hold for these rows
  std::map<std::pair<ShapeKey, int>, Layouts> layouts_;
};

// Opens and closes the candidates without a device: for doctor. Same report as open().
std::string describe_gemm_source(const std::vector<GemmCandidate>& candidates);

}  // namespace steerlab
