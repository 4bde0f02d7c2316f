// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): a counter in, four words out.
// Shared by host and device code, so dropout, sampling and random weights give the same bits everywhere.
#pragma once
#include <cmath>
#include <cstdint>

#ifdef __CUDACC__
#define STEERLAB_HD __host__ __device__
#else
#define STEERLAB_HD
#endif

namespace steerlab {

struct Philox4 {
  uint32_t w[4];
};

STEERLAB_HD inline Philox4 philox(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, uint64_t key) {
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = 0xD2511F53ull * c0, p1 = 0xCD9E8D57ull * c2;
    const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0, n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// Dropout: element `column` of token (example, position) at `site`. One call serves columns 4 q .. 4 q + 3 (word = column % 4).
STEERLAB_HD inline Philox4 dropout_words(uint64_t seed, uint32_t step, uint32_t site, uint32_t example, uint32_t position,
                                         uint32_t quad) {
  return philox(quad, position, example, site, seed ^ (0x9E3779B97F4A7C15ull * (step + 1ull)));
}

// An element is dropped when its word is below this threshold.
STEERLAB_HD inline uint32_t dropout_threshold(float p) { return static_cast<uint32_t>(p * 4294967296.0); }

// Uniform in [0, 1) with 24 bits, exact in float.
STEERLAB_HD inline float uniform24(uint32_t word) { return static_cast<float>(word >> 8) * (1.0f / 16777216.0f); }

// Two normal deviates from two words (Box and Muller 1958, basic form): radius of u1 in (0, 1], angle of u2 in [0, 1).
template <class Real>
STEERLAB_HD inline void normal_pair(Real out[2], uint32_t word1, uint32_t word2) {
  const Real u1 = (static_cast<Real>(word1) + Real(1)) * Real(0x1p-32);
#ifdef __CUDA_ARCH__
  Real sine, cosine;
  sincospif(static_cast<Real>(word2) * Real(0x1p-31), &sine, &cosine);
  const Real radius = sqrtf(Real(-2) * logf(u1));
#else
  const Real angle = static_cast<Real>(word2) * (Real(6.283185307179586) * Real(0x1p-32));
  const Real radius = std::sqrt(Real(-2) * std::log(u1)), cosine = std::cos(angle), sine = std::sin(angle);
#endif
  out[0] = radius * cosine;
  out[1] = radius * sine;
}

// Normal deviates 4 q .. 4 q + 3 of a weight matrix's stream.
STEERLAB_HD inline void normal_quad(float out[4], uint64_t quad, uint32_t stream, uint64_t seed) {
  const Philox4 w = philox(static_cast<uint32_t>(quad), static_cast<uint32_t>(quad >> 32), stream, 0x4e4f524du, seed);
  normal_pair(out, w.w[0], w.w[1]);
  normal_pair(out + 2, w.w[2], w.w[3]);
}

}  // namespace steerlab
