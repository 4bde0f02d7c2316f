// A stand-in for libcublasLt in the emulated tests: the thirteen calls that src/cuda/cublaslt.cu makes, computed in plain loops on
// host memory, with every argument checked as the real library would. Written from the library's public documentation.
//
// Where algorithms that split the depth are allowed there are five answers: a slow one (the first, and the only one elsewhere), a fast one,
// one that loses the last 8 of the depth, one that never gives the same bits twice, and another slow one. FAKE_CUBLASLT_EXPECT=N: complain of
// any other answer than N.
//
// FAKE_CUBLASLT_REFUSE=1: the heuristic finds no algorithm; =bucket: none for a multiple of 16 rows; =matmul: the product does not
// support its rows; =rows: it supports only the row count that the heuristic was asked for; =fast: the fast answer is right only there; =settings: no
// operation takes its settings; =device: the product fails on the device. FAKE_CUBLASLT_LOSES=N: the last N of the
// depth are left out, as a faulty split over the depth would. A copy in a folder "newer" does not start, as a library that is newer than the driver. Anything out of order prints a line and returns a failure status.
#include <dlfcn.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <thread>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

constexpr int kOk = 0, kNotInitialized = 1, kInvalid = 7, kNotSupported = 15;
constexpr int kReal32F = 0, kReal16BF = 14;
constexpr uint64_t kMagic = 0x5eed;
constexpr int kAnswers = 5, kFast = 1, kLosesTail = 2, kUnsteady = 3;

struct Layout {
  int type;
  uint64_t rows, cols;
  int64_t ld;
};
struct Desc {
  int compute, scale;
  int32_t trans_a = 0, trans_b = 0;
  uint32_t epilogue = 1;
  const void* bias = nullptr;
};
struct Preference {
  uint64_t workspace = 0;
  uint32_t reduction = 7, alignment[4] = {256, 256, 256, 256};
};
struct Result {
  uint64_t algorithm[8];
  size_t workspace;
  int state;
  float waves;
  int reserved[4];
};

int complain(const char* what) {
  std::fprintf(stderr, "fake cuBLASLt: %s\n", what);
  return kInvalid;
}

float read(const void* p, int type, int64_t i) {
  if (type == kReal32F) return static_cast<const float*>(p)[i];
  const uint32_t wide = static_cast<uint32_t>(static_cast<const uint16_t*>(p)[i]) << 16;
  float f;
  std::memcpy(&f, &wide, 4);
  return f;
}
void write(void* p, int type, int64_t i, float v) {
  if (type == kReal32F) {
    static_cast<float*>(p)[i] = v;
    return;
  }
  uint32_t u;
  std::memcpy(&u, &v, 4);
  static_cast<uint16_t*>(p)[i] = static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

bool refuses(const char* what) {
  const char* told = std::getenv("FAKE_CUBLASLT_REFUSE");
  return told && std::strcmp(told, what) == 0;
}

template <class T>
int make(void** out, T value) {
  *out = new T(value);
  return kOk;
}

}  // namespace

EXPORT size_t cublasLtGetVersion() { return 130002; }
EXPORT int cublasLtCreate(void** h) {
  Dl_info here{};
  const void* self = reinterpret_cast<const void*>(&cublasLtGetVersion);
  if (dladdr(self, &here) != 0 && std::strstr(here.dli_fname, "/newer/")) return kNotInitialized;
  return make(h, 1);
}
EXPORT int cublasLtDestroy(void* h) {
  delete static_cast<int*>(h);
  return kOk;
}
EXPORT int cublasLtMatmulDescCreate(void** d, int compute, int scale) {
  if (compute != 68 || scale != kReal32F) return complain("sums must be F32");
  return make(d, Desc{compute, scale});
}
EXPORT int cublasLtMatmulDescDestroy(void* d) {
  delete static_cast<Desc*>(d);
  return kOk;
}
EXPORT int cublasLtMatmulDescSetAttribute(void* d, int attribute, const void* value, size_t bytes) {
  if (refuses("settings")) return kNotSupported;
  if (attribute == 8 && bytes == 8) {
    std::memcpy(&static_cast<Desc*>(d)->bias, value, 8);
    return kOk;
  }
  if (attribute == 7 && bytes == 4) {
    std::memcpy(&static_cast<Desc*>(d)->epilogue, value, 4);
    return kOk;
  }
  if (bytes != 4 || (attribute != 3 && attribute != 4)) return complain("unknown operation attribute");
  std::memcpy(attribute == 3 ? &static_cast<Desc*>(d)->trans_a : &static_cast<Desc*>(d)->trans_b, value, 4);
  return kOk;
}
EXPORT int cublasLtMatrixLayoutCreate(void** l, int type, uint64_t rows, uint64_t cols, int64_t ld) {
  if (ld < static_cast<int64_t>(rows)) return complain("leading dimension below the rows");
  return make(l, Layout{type, rows, cols, ld});
}
EXPORT int cublasLtMatrixLayoutDestroy(void* l) {
  delete static_cast<Layout*>(l);
  return kOk;
}
EXPORT int cublasLtMatmulPreferenceCreate(void** p) { return make(p, Preference{}); }
EXPORT int cublasLtMatmulPreferenceDestroy(void* p) {
  delete static_cast<Preference*>(p);
  return kOk;
}
EXPORT int cublasLtMatmulPreferenceSetAttribute(void* p, int attribute, const void* value, size_t bytes) {
  Preference& pref = *static_cast<Preference*>(p);
  if (attribute == 1 && bytes == 8) std::memcpy(&pref.workspace, value, 8);
  else if (attribute == 3 && bytes == 4) std::memcpy(&pref.reduction, value, 4);
  else if (attribute >= 5 && attribute <= 8 && bytes == 4) std::memcpy(&pref.alignment[attribute - 5], value, 4);
  else return complain("unknown preference");
  return kOk;
}
EXPORT int cublasLtMatmulAlgoGetHeuristic(void*, void*, void* a, void*, void*, void* d, void* p, int wanted, Result* out, int* found) {
  const Preference& pref = *static_cast<Preference*>(p);
  if (wanted < 1 || (pref.reduction != 0 && pref.reduction != 2) || pref.alignment[0] != 16 || pref.workspace == 0) return complain("preferences");
  *found = 0;
  const uint64_t rows = static_cast<Layout*>(d)->cols;
  if (refuses("1") || (refuses("bucket") && rows % 16 == 0)) return kNotSupported;
  const int answers = pref.reduction == 0 ? 1 : wanted < kAnswers ? wanted : kAnswers;
  for (; *found < answers; ++*found) {
    Result& r = out[*found];
    std::memset(&r, 0, sizeof r);
    r.algorithm[0] = kMagic;
    r.algorithm[1] = static_cast<Layout*>(a)->rows * 1000003u + static_cast<Layout*>(d)->rows;  // belongs to this shape
    r.algorithm[2] = rows;
    r.algorithm[3] = static_cast<uint64_t>(*found);
  }
  return kOk;
}
EXPORT int cublasLtMatmul(void*, void* desc, const void* alpha, const void* a, void* la, const void* b, void* lb, const void* beta,
                          const void* c, void* lc, void* d, void* ld, const void* algorithm, void* workspace, size_t, void*) {
  const Desc& op = *static_cast<Desc*>(desc);
  const Layout &A = *static_cast<Layout*>(la), &B = *static_cast<Layout*>(lb), &D = *static_cast<Layout*>(ld);
  const uint64_t* algo = static_cast<const uint64_t*>(algorithm);
  if (A.type != kReal16BF || B.type != kReal16BF || lc != ld || c != d) return complain("types or output");
  if (algo[0] != kMagic || algo[1] != A.rows * 1000003u + D.rows) return complain("an algorithm of another shape");
  if (!workspace) return complain("no workspace");
  if (refuses("device")) return 13;
  if (refuses("matmul") || (refuses("rows") && algo[2] != D.cols)) return kNotSupported;
  for (const void* p : {a, b, static_cast<const void*>(d)})
    if (reinterpret_cast<uintptr_t>(p) % 16) return complain("alignment below what was promised");
  const uint64_t m = op.trans_a ? A.cols : A.rows, k = op.trans_a ? A.rows : A.cols;
  if (op.trans_b || B.rows != k || D.rows != m || D.cols != B.cols) return complain("shapes do not fit");
  if (op.epilogue != 1 && (op.epilogue != 4 || !op.bias || D.type != kReal16BF)) return complain("epilogue");
  const char* loses = std::getenv("FAKE_CUBLASLT_LOSES");
  const int answer = static_cast<int>(algo[3]);
  if (refuses("fast") && answer == kFast && algo[2] != D.cols) loses = "8";
  const char* expected = std::getenv("FAKE_CUBLASLT_EXPECT");
  if (expected && std::atoi(expected) != answer) return complain("another answer than the one that was chosen");
  const uint64_t depth = k - (loses ? std::strtoull(loses, nullptr, 10) : answer == kLosesTail ? 8 : 0);
  if (answer != kFast && answer != kLosesTail && answer != kUnsteady) std::this_thread::sleep_for(std::chrono::milliseconds(25));
  static int calls = 0;
  const float unsteady = answer == kUnsteady ? 1e-3f * static_cast<float>(++calls) : 0.0f;
  const float s = *static_cast<const float*>(alpha), t = *static_cast<const float*>(beta);
  for (uint64_t j = 0; j < D.cols; ++j)
    for (uint64_t i = 0; i < m; ++i) {
      float sum = i == 0 ? unsteady : 0;
      for (uint64_t x = 0; x < depth; ++x) {
        const int64_t at = op.trans_a ? static_cast<int64_t>(i) * A.ld + static_cast<int64_t>(x) : static_cast<int64_t>(x) * A.ld + static_cast<int64_t>(i);
        sum += read(a, A.type, at) * read(b, B.type, static_cast<int64_t>(j) * B.ld + static_cast<int64_t>(x));
      }
      const int64_t at = static_cast<int64_t>(j) * D.ld + static_cast<int64_t>(i);
      if (op.epilogue == 4) sum += read(op.bias, D.type, static_cast<int64_t>(i));
      write(d, D.type, at, s * sum + (t != 0 ? t * read(d, D.type, at) : 0.0f));
    }
  return kOk;
}
