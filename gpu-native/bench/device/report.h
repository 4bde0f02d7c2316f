// Lines that the device programs print, one fact each, flushed at once: device.sh keeps them as they come.
//   ok / FAIL  what error E allowed A            a check
//   found      what  value                       tab-separated, as all below
//   result     shape what value unit floor spread products
//   time       shape what op milliseconds calls  device time of one run, by op
//   skipped / failed  what why
#pragma once
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "backend.h"

namespace steerlab::bench {

inline int failures = 0;

inline void note(const std::string& what, double error, double allowed) {
  const bool ok = error <= allowed;  // false for NaN
  failures += !ok;
  std::printf("%s %s error %.2e allowed %.2e\n", ok ? "ok  " : "FAIL", what.c_str(), error, allowed);
  std::fflush(stdout);
}
inline void expect(const std::string& what, bool ok) { note(what, ok ? 0 : 1, 0.5); }

inline void found(const std::string& what, const std::string& value) {
  std::printf("found\t%s\t%s\n", what.c_str(), value.c_str());
  std::fflush(stdout);
}

// ||got - want|| / ||want||; NaN where lengths differ or nothing is there.
template <class A, class B>
double distance(const std::vector<A>& got, const std::vector<B>& want) {
  if (got.size() != want.size() || want.empty()) return NAN;
  double difference = 0, norm = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    const double d = static_cast<double>(got[i]) - static_cast<double>(want[i]);
    difference += d * d;
    norm += static_cast<double>(want[i]) * static_cast<double>(want[i]);
  }
  return std::sqrt(difference / norm);
}

// Cosine of the angle between them; NaN where lengths differ or one is zero.
template <class A, class B>
double cosine(const std::vector<A>& a, const std::vector<B>& b) {
  if (a.size() != b.size()) return NAN;
  double dot = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    dot += static_cast<double>(a[i]) * static_cast<double>(b[i]);
    aa += static_cast<double>(a[i]) * static_cast<double>(a[i]);
    bb += static_cast<double>(b[i]) * static_cast<double>(b[i]);
  }
  return dot / std::sqrt(aa * bb);
}

inline bool has_library(const Backend& b) { return b.describe().find(", cuBLASLt ") != std::string::npos; }

// What a backend counted, by name.
inline std::map<std::string, double> counts(const Backend& b) {
  std::map<std::string, double> out;
  const std::string text = b.counters();
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size()), equal = text.find('=', at);
    if (equal < end) out[text.substr(at, equal - at)] = std::strtod(text.c_str() + equal + 1, nullptr);
    at = end + 1;
  }
  return out;
}

// Which kernels served the matrix products since the last call: "cuBLASLt", "own", "both" or "none".
class Products {
 public:
  explicit Products(const Backend& b) : backend_(b) { since(); }
  std::string since() {
    auto now = counts(backend_);
    const auto ran = [&](const char* name) { return now[name] > last_[name]; };
    const bool library = ran("gemm.cublaslt"), own = ran("gemm.mma") || ran("gemm.tile");
    last_ = std::move(now);
    return library ? (own ? "both" : "cuBLASLt") : own ? "own" : "none";
  }
  // A check that fails where cuBLASLt was found and anything else ran (gemm.mma == 0).
  std::string asserted(const std::string& what) {
    const std::string used = since();
    if (has_library(backend_) && used != "none")
      expect("gemm.mma is 0 in " + what + " (" + used + ")", used == "cuBLASLt");
    return used;
  }

 private:
  const Backend& backend_;
  std::map<std::string, double> last_;
};

}  // namespace steerlab::bench
