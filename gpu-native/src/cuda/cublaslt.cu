#include "cublaslt.h"

#include <dlfcn.h>

#include <functional>

namespace steerlab {
namespace {

// Values of the library's enumerations, from its documentation.
constexpr int kCompute32F = 68, kReal32F = 0, kReal16BF = 14, kTranspose = 1;
constexpr int kDescTransA = 3, kDescEpilogue = 7, kDescBiasPointer = 8;
constexpr uint32_t kEpilogueBias = 4;  // one number for each row of the column-major result, of the result's type
constexpr int kPrefMaxWorkspace = 1, kPrefReductionMask = 3, kPrefAlignmentA = 5;  // B, C, D: 6, 7, 8
constexpr uint32_t kNoSplit = 0, kSplitInComputeType = 2;  // reduction schemes
constexpr size_t kWorkspace = size_t(32) << 20;
constexpr uint32_t kAlignment = 16;
constexpr size_t kMaxLayouts = 4096;
constexpr const char* kProductNumbers = "0 forward 1 gradient 2 bias, F32 output, columns, depth, row lengths of x, w, y, rows";
constexpr int kInvalidValue = 7, kNotSupported = 15;  // statuses that come before anything runs

struct HeuristicResult {
  uint64_t algorithm[8];
  size_t workspace;
  int state;
  float waves;
  int reserved[4];
};

}  // namespace

struct CublasLtCalls {
  size_t (*version)();
  int (*create)(void** handle);
  int (*destroy)(void* handle);
  int (*desc_create)(void** desc, int compute, int scale);
  int (*desc_destroy)(void* desc);
  int (*desc_set)(void* desc, int attribute, const void* value, size_t bytes);
  int (*layout_create)(void** layout, int type, uint64_t rows, uint64_t cols, int64_t ld);
  int (*layout_destroy)(void* layout);
  int (*pref_create)(void** pref);
  int (*pref_destroy)(void* pref);
  int (*pref_set)(void* pref, int attribute, const void* value, size_t bytes);
  int (*heuristic)(void* handle, void* desc, void* a, void* b, void* c, void* d, void* pref, int wanted, HeuristicResult* out,
                   int* found);
  int (*matmul)(void* handle, void* desc, const void* alpha, const void* a, void* a_layout, const void* b, void* b_layout,
                const void* beta, const void* c, void* c_layout, void* d, void* d_layout, const void* algorithm, void* workspace,
                size_t workspace_bytes, cudaStream_t stream);
};

namespace {

template <class F>
bool find(void* library, const char* name, F& out) {
  out = reinterpret_cast<F>(dlsym(library, name));
  return out != nullptr;
}

bool find_calls(void* library, CublasLtCalls& c) {
  return find(library, "cublasLtGetVersion", c.version) && find(library, "cublasLtCreate", c.create) &&
         find(library, "cublasLtDestroy", c.destroy) && find(library, "cublasLtMatmulDescCreate", c.desc_create) &&
         find(library, "cublasLtMatmulDescDestroy", c.desc_destroy) &&
         find(library, "cublasLtMatmulDescSetAttribute", c.desc_set) &&
         find(library, "cublasLtMatrixLayoutCreate", c.layout_create) &&
         find(library, "cublasLtMatrixLayoutDestroy", c.layout_destroy) &&
         find(library, "cublasLtMatmulPreferenceCreate", c.pref_create) &&
         find(library, "cublasLtMatmulPreferenceDestroy", c.pref_destroy) &&
         find(library, "cublasLtMatmulPreferenceSetAttribute", c.pref_set) &&
         find(library, "cublasLtMatmulAlgoGetHeuristic", c.heuristic) && find(library, "cublasLtMatmul", c.matmul);
}

// Opens the first candidate that has every call and that `starts` on the device: a library newer than the driver opens but does
// not start, and an older one may lie further down the list. A started library is never closed: it keeps state on the device.
bool open_first(const std::vector<GemmCandidate>& candidates, CublasLtCalls& calls, std::string& report,
                const std::function<bool()>& starts) {
  std::string tried;
  for (const GemmCandidate& c : candidates) {
    void* library = dlopen(c.file.c_str(), RTLD_NOW | RTLD_LOCAL);
    const bool complete = library && find_calls(library, calls);
    if (complete && starts()) {
      const size_t v = calls.version();
      report = "cuBLASLt " + std::to_string(v / 10000) + "." + std::to_string(v / 100 % 100) + "." + std::to_string(v % 100) + " from " +
               c.file + " (" + c.place + ")";
      return true;
    }
    tried += (tried.empty() ? "" : ", ") + c.file;
    if (complete) tried += " (refuses the device)";
    else if (library) {
      tried += " (a call is missing)";
      dlclose(library);
    }
  }
  report = tried.empty() ? "own mma.sync kernels (" + gemm_refusal(process_environment) + ")"
                         : "own mma.sync kernels (no cuBLASLt; tried " + tried + ")";
  return false;
}

bool aligned(const void* p) { return reinterpret_cast<uintptr_t>(p) % kAlignment == 0; }

}  // namespace

std::string describe_gemm_source(const std::vector<GemmCandidate>& candidates) {
  CublasLtCalls calls{};
  std::string report;
  open_first(candidates, calls, report, [] { return true; });
  return report;
}

std::unique_ptr<CublasLt> CublasLt::open(const std::vector<GemmCandidate>& candidates, const std::string& device,
                                         std::string& report) {
  std::unique_ptr<CublasLt> lt(new CublasLt());
  lt->calls_ = std::make_unique<CublasLtCalls>();
  const auto starts = [&] {
    if (lt->calls_->create(&lt->handle_) == 0) return true;
    lt->handle_ = nullptr;
    return false;
  };
  if (!open_first(candidates, *lt->calls_, report, starts)) return nullptr;
  const CublasLtCalls& c = *lt->calls_;
  for (void*& desc : lt->operation_)
    if (c.desc_create(&desc, kCompute32F, kReal32F) != 0) {
      report = "own mma.sync kernels (" + report + " gave no operation)";
      return nullptr;
    }
  // y^T = op(W) x^T: W row-major (cols, depth) is column-major (depth, cols) and must be turned; the gradient's is not.
  const int32_t transpose = kTranspose;
  if (c.desc_set(lt->operation_[kForward], kDescTransA, &transpose, sizeof transpose) != 0 ||
      c.desc_set(lt->operation_[kForwardBias], kDescTransA, &transpose, sizeof transpose) != 0 ||
      c.desc_set(lt->operation_[kForwardBias], kDescEpilogue, &kEpilogueBias, sizeof kEpilogueBias) != 0) {
    report = "own mma.sync kernels (" + report + " refused the settings of an operation)";
    return nullptr;
  }
  check_cuda(cudaMalloc(&lt->workspace_, kWorkspace), "cuBLASLt workspace");
  lt->choices_ = std::make_unique<GemmChoices>(process_environment, device, c.version());
  return lt;
}

CublasLt::~CublasLt() {
  for (auto& entry : layouts_)
    for (void* layout : {entry.second.w, entry.second.x, entry.second.y})
      if (layout) calls_->layout_destroy(layout);
  for (void* desc : operation_)
    if (desc) calls_->desc_destroy(desc);
  if (handle_) calls_->destroy(handle_);
  if (workspace_) cudaFree(workspace_);
}

CublasLt::Layouts CublasLt::make_layouts(const ShapeKey& shape, int rows) {
  const auto [operation, float_output, cols, depth, ldx, ldw, ldy] = shape;
  const bool gradient = operation == kGradient;
  Layouts l;
  const uint64_t w_rows = gradient ? cols : depth, w_cols = gradient ? depth : cols;
  if (calls_->layout_create(&l.w, kReal16BF, w_rows, w_cols, ldw) != 0 || calls_->layout_create(&l.x, kReal16BF, depth, rows, ldx) != 0 ||
      calls_->layout_create(&l.y, float_output ? kReal32F : kReal16BF, cols, rows, ldy) != 0)
    throw Error("cublaslt", "Expected a matrix layout from cuBLASLt but it refused. Set STEERLAB_CUBLASLT=own to do without it.");
  return l;
}

const CublasLt::Layouts& CublasLt::layouts(const ShapeKey& shape, int rows) {
  const auto key = std::make_pair(shape, rows);
  const auto found = layouts_.find(key);
  if (found != layouts_.end()) return found->second;
  if (layouts_.size() >= kMaxLayouts) {  // a long session of odd lengths: start over rather than grow without end
    for (auto& entry : layouts_)
      for (void* layout : {entry.second.w, entry.second.x, entry.second.y}) calls_->layout_destroy(layout);
    layouts_.clear();
  }
  return layouts_[key] = make_layouts(shape, rows);
}

void* CublasLt::operation(const gpu::Gemm& g) {
  void* chosen = operation_[operation_of(g)];
  if (g.bias && calls_->desc_set(chosen, kDescBiasPointer, &g.bias, sizeof g.bias) != 0)
    throw Error("cublaslt", "Expected cuBLASLt to add a bias but it refused. Set STEERLAB_CUBLASLT=own to do without it.");
  return chosen;
}

std::vector<GemmAlgorithm> CublasLt::ask(const gpu::Gemm& g, const ShapeKey& shape, int rows, int most, bool split) {
  std::vector<GemmAlgorithm> found;
  const Layouts& l = layouts(shape, rows);
  void* pref = nullptr;
  if (calls_->pref_create(&pref) != 0) return found;
  const size_t workspace = kWorkspace;
  const uint32_t reduction = split ? kSplitInComputeType : kNoSplit;
  calls_->pref_set(pref, kPrefMaxWorkspace, &workspace, sizeof workspace);
  calls_->pref_set(pref, kPrefReductionMask, &reduction, sizeof reduction);
  for (int i = 0; i < 4; ++i) calls_->pref_set(pref, kPrefAlignmentA + i, &kAlignment, sizeof kAlignment);
  std::vector<HeuristicResult> results(static_cast<size_t>(most));
  int count = 0;
  if (calls_->heuristic(handle_, operation(g), l.w, l.x, l.y, l.y, pref, most, results.data(), &count) != 0) count = 0;
  for (int i = 0; i < count; ++i) {
    const HeuristicResult& r = results[static_cast<size_t>(i)];
    if (r.state != 0) continue;
    GemmAlgorithm a;
    std::copy(r.algorithm, r.algorithm + 8, a.data);
    a.workspace = r.workspace;
    found.push_back(a);
  }
  calls_->pref_destroy(pref);
  return found;
}

std::string CublasLt::product_of(const ShapeKey& shape, int rows) {
  const auto [operation, float_output, cols, depth, ldx, ldw, ldy] = shape;
  std::string product;
  for (const int number : {int(operation), int(float_output), cols, depth, ldx, ldw, ldy, rows}) product += (product.empty() ? "" : " ") + std::to_string(number);
  return product;
}

const CublasLt::Algorithm& CublasLt::algorithm(cudaStream_t stream, const gpu::Gemm& g, const ShapeKey& shape, int rows) {
  const auto key = std::make_pair(shape, rows);
  const auto found = algorithms_.find(key);
  if (found != algorithms_.end()) return found->second;
  const std::string product = product_of(shape, rows);
  Algorithm best;
  if (const auto kept = choices_->find(product)) best = {*kept, true};
  else if (const auto timed = choices_->timing() ? fastest(stream, g, shape, rows) : std::nullopt) {
    best = *timed;
    if (best.usable) choices_->add(product, best, kProductNumbers);
  } else if (const auto answers = ask(g, shape, rows, 1, false); !answers.empty()) {
    best = {answers[0], true};
  }
  return algorithms_[key] = best;
}

int CublasLt::multiply(cudaStream_t stream, const gpu::Gemm& g, const ShapeKey& shape, const GemmAlgorithm& algorithm) {
  const float alpha = 1.0f, beta = g.accumulate ? 1.0f : 0.0f;
  const Layouts& l = layouts(shape, g.n);
  return calls_->matmul(handle_, operation(g), &alpha, g.w, l.w, g.x, l.x, &beta, g.y, l.y, g.y, l.y, algorithm.data, workspace_,
                        kWorkspace, stream);
}

std::string CublasLt::choices() const {
  std::string text = choices_->count() ? std::to_string(choices_->count()) + " timed algorithms, digest " + choices_->digest() : "";
  if (choices_->timing()) text += (text.empty() ? "" : ", ") + std::string("timing more");
  return text;
}

bool CublasLt::run(cudaStream_t stream, const gpu::Gemm& g, bool float_output) {
  const int y_unit = float_output ? 4 : 8;
  if (!aligned(g.x) || !aligned(g.w) || !aligned(g.y) || g.ldx % 8 || g.ldw % 8 || g.ldy % y_unit || g.depth % 8 || g.cols % 8)
    return false;
  const ShapeKey shape{operation_of(g), float_output, g.cols, g.depth, g.ldx, g.ldw, g.ldy};
  const int bucket = gemm_bucket(g.n);
  for (const int asked : {bucket, g.n}) {
    const Algorithm& best = algorithm(stream, g, shape, asked);
    if (best.usable && unfit_.count({shape, asked, g.n}) == 0) {
      const int status = multiply(stream, g, shape, best);
      if (status == 0) return true;
      if (status != kInvalidValue && status != kNotSupported)
        throw Error("cublaslt", "Expected a matrix product from cuBLASLt but received status " + std::to_string(status) + " for " +
                                    product_of(shape, g.n) + " (" + kProductNumbers + ") by the algorithm for " + std::to_string(asked) +
                                    " rows, " + "algorithm " + std::to_string(best.data[0]) + " " + std::to_string(best.data[1]) + ". Set STEERLAB_CUBLASLT=own to do without it.");
      unfit_.insert({shape, asked, g.n});
    }
    if (g.n == bucket) break;
  }
  return false;
}

}  // namespace steerlab
