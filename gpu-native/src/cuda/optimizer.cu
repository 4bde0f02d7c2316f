// Gradient norm and AdamW with clipping, all on the device: the clip coefficient is read by the update from where the norm lies.
// The norm adds blocks of 4096 squares in double, each in a fixed order, then the blocks in a fixed order.
#include "kernels.h"
#include "reduce.h"

namespace steerlab::gpu {
namespace {

constexpr int kThreads = 256, kPerThread = 16;
constexpr size_t kBlock = kThreads * kPerThread;

__global__ void squares_kernel(double* partial, const float* g, size_t count) {
  __shared__ double scratch[32];
  double sum = 0.0;
  for (int i = 0; i < kPerThread; ++i) {
    const size_t at = blockIdx.x * kBlock + size_t(i) * kThreads + threadIdx.x;
    if (at < count) sum += static_cast<double>(g[at]) * g[at];
  }
  sum = block_sum(sum, scratch);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

__global__ void norm_kernel(double* norm, const double* partial, int count) {
  __shared__ double scratch[32];
  double sum = 0.0;
  for (int i = threadIdx.x; i < count; i += kThreads) sum += partial[i];
  sum = block_sum(sum, scratch);
  if (threadIdx.x == 0) norm[0] = sqrt(sum);
}

// torch.optim.AdamW: decay first, moments, then the bias-corrected step.
struct Step {
  double max_norm;
  float decay, step_size, beta1, beta2, rest1, rest2, root_fix, eps;
};

__global__ void adamw_kernel(float* p, float* m, float* v, const float* g, size_t count, Step s, const double* norm) {
  double clip = 1.0;
  if (s.max_norm > 0.0) clip = s.max_norm / (norm[0] + 1e-6);
  const float coefficient = static_cast<float>(clip < 1.0 ? clip : 1.0);
  for (size_t i = size_t(blockIdx.x) * kThreads + threadIdx.x; i < count; i += size_t(gridDim.x) * kThreads) {
    const float grad = g[i] * coefficient;
    const float first = m[i] * s.beta1 + grad * s.rest1, second = v[i] * s.beta2 + grad * grad * s.rest2;
    m[i] = first;
    v[i] = second;
    p[i] = p[i] * s.decay - s.step_size * first / (sqrtf(second) / s.root_fix + s.eps);
  }
}

}  // namespace

int norm_partials(size_t count) { return static_cast<int>((count + kBlock - 1) / kBlock); }

void gradient_norm(cudaStream_t s, double* norm, double* partial, const float* g, size_t count) {
  const int blocks = norm_partials(count);
  if (blocks) LAUNCH(squares_kernel, dim3(blocks), dim3(kThreads), 0, s, partial, g, count);
  LAUNCH(norm_kernel, dim3(1), dim3(kThreads), 0, s, norm, partial, blocks);
}

void adamw(cudaStream_t s, float* p, float* m, float* v, const float* g, size_t count, const AdamW& h, const double* norm) {
  if (count == 0) return;
  const double steps = static_cast<double>(h.step);
  const Step step{h.max_grad_norm,
                  static_cast<float>(1 - h.lr * h.weight_decay),
                  static_cast<float>(h.lr / (1 - std::pow(h.beta1, steps))),
                  static_cast<float>(h.beta1),
                  static_cast<float>(h.beta2),
                  static_cast<float>(1 - h.beta1),
                  static_cast<float>(1 - h.beta2),
                  static_cast<float>(std::sqrt(1 - std::pow(h.beta2, steps))),
                  static_cast<float>(h.eps)};
  const size_t blocks = (count + kThreads - 1) / kThreads;
  LAUNCH(adamw_kernel, dim3(static_cast<unsigned>(std::min<size_t>(blocks, 8192))), dim3(kThreads), 0, s, p, m, v, g, count, step,
         norm);
}

}  // namespace steerlab::gpu
