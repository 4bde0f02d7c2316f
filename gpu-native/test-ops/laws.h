// Laws of the seam beyond single results: bitwise invariance to batch, threads and batch split; derivatives; dropout rate.
#pragma once
#include <cstdio>

#include "lab.h"

namespace ops_test {

struct Report {
  int failed = 0;
  void check(const std::string& name, double measured, double limit) {
    const bool ok = measured <= limit;  // false for NaN
    failed += !ok;
    std::printf("%s\t%s\t%.3g\t%.3g\n", ok ? "ok" : "FAIL", name.c_str(), measured, limit);
  }
};

void check_derivatives(Report& report, Backend& f64);  // derivatives.cpp
void check_laws(Report& report, DType type, const std::string& isa);

}  // namespace ops_test
