// Measures the CPU kernels: `steerlab_bench <f32|bf16> <isa> <threads> <seconds per shape>` prints one JSON object per line:
//   {"kind": "peak", "gflops"}  {"kind": "memory", "gbytes"}  {"kind": "gemm", "what", "m", "k", "n", "gflops", "spread"}
// Peak is a loop of register-only multiply-adds on all threads; gflops of a shape is the median of its repetitions, spread the
// distance from the first to the third quartile over the median. Every shape is checked against the plain twin before it is timed.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <string>
#include <vector>

#include "cpu/kernels.h"
#include "cpu/pool.h"
#include "error.h"

using namespace steerlab;

namespace {

// Seconds. One thread is timed in processor time, which other processes do not disturb; several threads in wall time.
bool processor_time = false;
double now() {
  if (processor_time) return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Quartiles {
  double low, median, high;
};
Quartiles quartiles(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return {v[v.size() / 4], v[v.size() / 2], v[v.size() * 3 / 4]};
}

const Kernels* kernels_named(const std::string& isa) {
  for (const Kernels* k : {kernels_amx(), kernels_avx512bf16(), kernels_avx512(), kernels_avx2(), kernels_neon()})
    if (k && isa == k->isa) return k;
  throw Error("bad-isa", "Expected an instruction set with kernels but received " + isa + ".");
}

void measure_peak(const Kernels& k, bool pairs, Pool& pool) {
  std::vector<double> rates;
  for (int repetition = 0; repetition < 7; ++repetition) {
    std::vector<double> done(static_cast<size_t>(pool.threads()));
    const double start = now();
    pool.run(pool.threads(), [&](int64_t task, int) {
      float sink[4] = {1, 2, 3, 4};
      done[static_cast<size_t>(task)] = k.peak(3000000, pairs, sink);
    });
    double flops = 0;
    for (double d : done) flops += d;
    rates.push_back(flops / (now() - start) * 1e-9);
  }
  std::printf("{\"kind\": \"peak\", \"gflops\": %.1f}\n", quartiles(rates).high);
}

void measure_memory(const Kernels& k, Pool& pool) {
  const size_t count = size_t{64} << 20;
  std::vector<float> data(count, 1.0f);
  std::vector<double> rates, sums(static_cast<size_t>(pool.threads()));
  for (int repetition = 0; repetition < 5; ++repetition) {
    const double start = now();
    pool.run_ranges(static_cast<int64_t>(count), 1 << 20,
                    [&](int64_t begin, int64_t end, int worker) { sums[static_cast<size_t>(worker)] += k.largest(&data[static_cast<size_t>(begin)], end - begin); });
    rates.push_back(static_cast<double>(count) * 4 / (now() - start) * 1e-9);
  }
  std::printf("{\"kind\": \"memory\", \"gbytes\": %.1f}\n", quartiles(rates).median);
}

struct Shape {
  const char* what;
  int m, k, n;
  bool backward;
};

// Buffers of one backend at one shape; the weights in bf16, as checkpoints of this family hold them.
struct Operands {
  Backend& b;
  std::vector<Bf16> weights;
  Weight w;
  void *x, *y;
  Operands(Backend& backend, const Shape& s) : b(backend), weights(static_cast<size_t>(s.n) * s.k) {
    const Weight drawn = b.random_matrix(s.n, s.k, 0.02f, 1, 1);
    for (size_t i = 0; i < weights.size(); ++i)
      weights[i] = drawn.type == DType::BF16 ? static_cast<const Bf16*>(drawn.data)[i] : to_bf16(static_cast<const float*>(drawn.data)[i]);
    w = b.load_matrix({weights.data(), DType::BF16, s.n, s.k});
    x = b.allocate(static_cast<size_t>(s.m) * s.k * bytes_of(b.act()));
    y = b.allocate(static_cast<size_t>(s.m) * s.n * bytes_of(b.act()));
    const Weight left = b.random_matrix(s.m, s.k, 1, 2, 2), out = b.random_matrix(s.m, s.n, 1, 3, 3);
    b.upload(x, left.data, static_cast<size_t>(s.m) * s.k * bytes_of(b.act()));
    b.upload(y, out.data, static_cast<size_t>(s.m) * s.n * bytes_of(b.act()));
  }
  ~Operands() {
    b.release(x);
    b.release(y);
  }
  void run(const Shape& s) {
    const LinearPart part{&w};
    const LoraGrad none{};
    const int32_t offsets[2] = {0, s.m};
    if (s.backward) b.linear_backward({.dx = x, .dy = y, .ldy = s.n, .n = s.m, .parts = {&part, 1}, .grads = {&none, 1},
                                       .example_offsets = offsets, .examples = 1});
    else b.linear({.y = y, .ldy = s.n, .x = x, .n = s.m, .parts = {&part, 1}});
  }
  double checksum(const Shape& s) {
    const size_t count = static_cast<size_t>(s.m) * (s.backward ? s.k : s.n);
    std::vector<float> out(count);
    b.to_f32({out.data(), s.backward ? x : y, count});
    double sum = 0;
    for (size_t i = 0; i < count; ++i) sum += out[i] * static_cast<double>(i % 7);
    return sum;
  }
};

void measure_shape(Backend& b, Backend& twin, Shape s, double seconds) {
  Shape small = s;  // the twin is slow: a few rows of the same shape
  small.m = std::min(s.m, 3);
  small.n = std::min(s.n, 700);
  small.k = std::min(s.k, 700);
  Operands fast(b, small), slow(twin, small);
  fast.run(small);
  slow.run(small);
  const double got = fast.checksum(small), wanted = slow.checksum(small);
  if (!(std::abs(got - wanted) <= 0.02 * std::max(1.0, std::abs(wanted))))
    throw Error("wrong-result", std::string("Expected the plain result for ") + s.what + " but received another one.");

  Operands o(b, s);
  o.run(s);
  std::vector<double> rates;
  const double begin = now();
  while (rates.size() < 5 || (now() - begin < seconds && rates.size() < 2000)) {
    const double start = now();
    o.run(s);
    rates.push_back(2.0 * s.m * s.k * s.n / (now() - start) * 1e-9);
  }
  const Quartiles q = quartiles(rates);
  std::printf("{\"kind\": \"gemm\", \"what\": \"%s\", \"m\": %d, \"k\": %d, \"n\": %d, \"gflops\": %.1f, \"spread\": %.3f}\n", s.what, s.m, s.k,
              s.n, q.median, (q.high - q.low) / q.median);
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "Expected <f32|bf16> <isa> <threads> <seconds per shape>.\n");
    return 2;
  }
  try {
    const bool half = std::string(argv[1]) == "bf16";
    const int threads = std::atoi(argv[3]);
    processor_time = threads == 1;
    const Kernels& k = *kernels_named(argv[2]);
    {
      Pool pool(threads);
      measure_peak(k, half, pool);
      measure_memory(k, pool);
    }
    const DType type = half ? DType::BF16 : DType::F32;
    auto b = make_cpu_backend(type, threads, argv[2]), twin = make_cpu_backend(type, threads, "plain");
    const Shape shapes[] = {{"0.5B qkv", 536, 896, 1152, false},      {"0.5B o", 536, 896, 896, false},
                            {"0.5B gate up", 536, 896, 9728, false},  {"0.5B down", 536, 4864, 896, false},
                            {"0.5B gate up dx", 200, 896, 9728, true}, {"0.5B down dx", 200, 4864, 896, true},
                            {"0.5B one row", 1, 896, 9728, false},    {"0.5B head", 8, 896, 37984, false},
                            {"lab qkv", 536, 256, 512, false},        {"lab gate up", 536, 256, 1536, false},
                            {"lab down", 536, 768, 256, false},       {"lab gate up dx", 200, 256, 1536, true}};
    for (const Shape& s : shapes) measure_shape(*b, *twin, s, std::atof(argv[4]));
  } catch (const Error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
  return 0;
}
