// The adapter kernels on the matrix units, for bf16 activations; the F32 mode and STEERLAB_CUDA_LORA=plain keep lora.cu's own.
//
// F32 operands enter as sums of bf16 terms. Beside a bf16 operand three, which hold all 24 bits: two would leave an error of 2^-17,
// more than a small sum of large terms can bear (1e-5 of u and its gradients). Beside another F32 one the three largest products
// of two terms each, within 2^-16: the sum is rounded to bf16 next.
// A matrix instruction may take k and columns in any order that its operands share, so a lane reads four neighbours at once (a
// "quad", also the unit of dropout) where the documented layout has two pairs 8 apart. fragments.h gives the documented layout.
#pragma once
#include "kernels.h"
#include "lora_tile.h"

namespace steerlab::gpu {

void lora_down_mma(cudaStream_t s, const LoraTasks& tasks, const bf16* x, int in, const DropoutKey& key);
void lora_up_mma(cudaStream_t s, const LoraTasks& tasks, bf16* y, int ldy);
void lora_du_mma(cudaStream_t s, const LoraTasks& tasks, float* const* du, const bf16* dy, int ldy, int n);
// partial (lora_backward.cu) of `examples` examples from `first` on: dA where down, dB otherwise. wide: x or dy, rows `ld` apart.
void lora_partials_mma(cudaStream_t s, const LoraTasks& tasks, const GradientPointers& out, bool down, const bf16* wide, int ld, int in,
                       const DropoutKey& key, const int32_t* offsets, int first, int examples);
void lora_dx_mma(cudaStream_t s, const LoraTasks& tasks, float* const* du, bf16* dx, const float* base, int n, int in,
                 const DropoutKey& key);

#if defined(__CUDACC__) || defined(STEERLAB_CUDA_EMULATION)

// Terms of an F32 number: bf16 each, every one what the ones before leave over.
constexpr int kTerms = 3;

// Four numbers, as two registers of two bf16 each per term.
struct SplitQuad {
  uint32_t term[kTerms][2];
};
__device__ __forceinline__ SplitQuad split_quad(const float v[4]) {
  SplitQuad s;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    float a = v[2 * i], b = v[2 * i + 1];
#pragma unroll
    for (int t = 0; t < kTerms; ++t) {
      s.term[t][i] = pack_bf16(a, b);
      a -= rounded<bf16>(a);
      b -= rounded<bf16>(b);
    }
  }
  return s;
}

// A (16, 16) operand whose lane holds the quads k0 + 4 (lane % 4) of rows lane / 4 and lane / 4 + 8.
struct SplitRows {
  uint32_t term[kTerms][4];
};
__device__ __forceinline__ void set_row(SplitRows& rows, int half, const SplitQuad& quad) {
#pragma unroll
  for (int t = 0; t < kTerms; ++t)
#pragma unroll
    for (int i = 0; i < 2; ++i) rows.term[t][half + 2 * i] = quad.term[t][i];
}

// Of a pair of column tiles, the column (0 .. 15) that B's lane group lane / 4 stands for in tile h, so that a lane's sums of both
// tiles are columns 4 (lane % 4) .. + 3: elements 2 h + e.
__device__ __forceinline__ int paired_column(int lane, int h) { return (lane / 8) * 4 + 2 * h + (lane / 4) % 2; }

#endif

}  // namespace steerlab::gpu
