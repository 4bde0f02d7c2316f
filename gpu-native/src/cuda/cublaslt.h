// cuBLASLt, opened at run time with prototypes written out here: built without its headers, shipped without the library.
//
// Matrices here are row-major, the library's are column-major: y = x W^T is asked for as y^T = W x^T, with F32 sums. One algorithm
// serves a (shape, bucket of rows), so a run repeats itself and rows of one bucket do not depend on their neighbours: the one that
// gemm_choices.h keeps, timed under STEERLAB_CUBLASLT_TIME=1 (cublaslt_trial.cu), else the first answer of the library's heuristic with
// no split over the depth. Rows of different buckets may differ in the last bits (STEERLAB_BATCH_INVARIANT=1 does without the
// library). Where the bucket has no answer, or its answer does not hold for a row count, that row count is asked for by itself.
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "gemm_choices.h"
#include "gemm_source.h"
#include "kernels.h"

namespace steerlab {

struct CublasLtCalls;  // function pointers

class CublasLt {
 public:
  // Null when no candidate opens; `report` says what was opened or tried.
  static std::unique_ptr<CublasLt> open(const std::vector<GemmCandidate>& candidates, const std::string& device, std::string& report);
  ~CublasLt();

  // bf16 x bf16 -> bf16 or float. False, doing nothing, where the library cannot serve the shape or alignment.
  bool run(cudaStream_t stream, const gpu::Gemm& g, bool float_output);

  // For describe(): which algorithms are used.
  std::string choices() const;
  // Algorithms that were timed, and those of them that own kernels did not agree with.
  size_t tried() const { return tried_; }
  size_t rejected() const { return rejected_; }

 private:
  CublasLt() = default;
  // operation, float output, cols, depth, ldx, ldw, ldy
  enum Operation { kForward, kGradient, kForwardBias, kOperations };
  using ShapeKey = std::tuple<Operation, bool, int, int, int, int, int>;
  static Operation operation_of(const gpu::Gemm& g) { return g.input_gradient ? kGradient : g.bias ? kForwardBias : kForward; }
  struct Algorithm : GemmAlgorithm {
    bool usable = false;
  };
  struct Layouts {
    void *w = nullptr, *x = nullptr, *y = nullptr;
  };
  // The algorithm for `rows` rows, which may be the ceiling of a bucket.
  const Algorithm& algorithm(cudaStream_t stream, const gpu::Gemm& g, const ShapeKey& shape, int rows);
  // At most `most` answers of the heuristic, best first. split: also algorithms that split the depth and add up in F32.
  std::vector<GemmAlgorithm> ask(const gpu::Gemm& g, const ShapeKey& shape, int rows, int most, bool split);
  // The fastest, on a cold weight, of the answers that agree with our own kernel on random rows and this weight, as many as asked for and
  // as many as the product has, twice with the same bits; not usable where none does. None where the device has no room to try.
  std::optional<Algorithm> fastest(cudaStream_t stream, const gpu::Gemm& g, const ShapeKey& shape, int rows);
  // The numbers that tell a product from others.
  static std::string product_of(const ShapeKey& shape, int rows);
  // The operation of g, told where its bias lies.
  void* operation(const gpu::Gemm& g);
  int multiply(cudaStream_t stream, const gpu::Gemm& g, const ShapeKey& shape, const GemmAlgorithm& algorithm);
  const Layouts& layouts(const ShapeKey& shape, int rows);
  Layouts make_layouts(const ShapeKey& shape, int rows);

  std::unique_ptr<CublasLtCalls> calls_;
  std::unique_ptr<GemmChoices> choices_;
  size_t tried_ = 0, rejected_ = 0;
  void* handle_ = nullptr;
  void* operation_[kOperations] = {};
  void* workspace_ = nullptr;
  std::map<std::pair<ShapeKey, int>, Algorithm> algorithms_;     // by the rows that were asked for
  std::set<std::tuple<ShapeKey, int, int>> unfit_;               // asked for, rows: an answer that does not hold for these rows
  std::map<std::pair<ShapeKey, int>, Layouts> layouts_;
};

// Opens and closes the candidates without a device: for doctor. Same report as open().
std::string describe_gemm_source(const std::vector<GemmCandidate>& candidates);

}  // namespace steerlab
