// Op tests: `steerlab_ops_test <f64|f32|bf16> <isa>` runs every case of the cpu backend on that instruction set, compares it with the
// plain twin in the same format and with the plain loops in f64, then checks the laws of laws.cpp. One line per check:
//   ok|FAIL <tab> name <tab> measured <tab> limit
// and a last line "counters <tab> name=count ...". Exit status 1 when a check failed. `steerlab_ops_test list` prints the sets.
#include <cstdio>
#include <memory>

#include "../src/cpu/isa.h"
#include "../src/error.h"
#include "lab.h"
#include "laws.h"

using namespace ops_test;

namespace {

// ||a - b|| / ||b||, infinite where a is not finite.
double relative(const Values& a, const Values& b) {
  if (a.size() != b.size()) return INFINITY;
  double difference = 0, size = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (!std::isfinite(a[i])) return INFINITY;
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    size += b[i] * b[i];
  }
  return std::sqrt(difference) / std::max(std::sqrt(size), 1e-30);
}

DType parse(const std::string& name) {
  if (name == "f64") return DType::F64;
  if (name == "f32") return DType::F32;
  if (name == "bf16") return DType::BF16;
  throw Error("bad-dtype", "Expected f64, f32 or bf16 but received " + name + ".");
}

int run(const std::string& type_name, const std::string& isa) {
  const DType type = parse(type_name);
  auto tested = make_cpu_backend(type, 2, isa), twin = make_cpu_backend(type, 1, "plain"), exact = make_cpu_backend(DType::F64, 1, "plain");
  // f64 reference: f32 differs by its rounding, bf16 by its rounding points. Twin: only the order of sums differs.
  const double to_exact = type == DType::F64 ? 1e-13 : type == DType::F32 ? 1e-5 : 1e-2;
  const double to_twin = type == DType::F64 ? 0 : type == DType::F32 ? 1e-5 : 4e-3;
  Report report;
  std::vector<Case> cases;
  for (auto family : {row_cases, linear_cases, attention_cases, loss_cases})
    for (Case& c : family()) cases.push_back(std::move(c));
  for (const Case& c : cases) {
    Lab a(*tested), b(*twin), e(*exact);
    const Values got = c.run(a);
    report.check(c.name + " vs plain", relative(got, c.run(b)), to_twin);
    report.check(c.name + " vs f64", relative(got, c.run(e)), to_exact);
  }
  check_laws(report, type, isa);
  std::string counters = tested->counters();
  for (char& ch : counters)
    if (ch == '\n') ch = ' ';
  std::printf("counters\t%s\n", counters.c_str());
  return report.failed ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc == 2 && std::string(argv[1]) == "list") {
      for (const std::string& isa : cpu_isas()) std::printf("%s\n", isa.c_str());
      return 0;
    }
    if (argc == 3) return run(argv[1], argv[2]);
    std::fprintf(stderr, "Expected `list` or `<f64|f32|bf16> <isa>`.\n");
  } catch (const Error& e) {
    std::fprintf(stderr, "%s\n", e.what());
  }
  return 2;
}
