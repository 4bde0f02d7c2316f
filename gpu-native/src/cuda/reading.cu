// Reading logits: log-sum-exp, log-probabilities of chosen ids, the top k, and sampling. One block per row.
//
// Top k and sampling walk the keys of logit_order.h digit by digit with histograms in shared memory, several of them so that warps
// do not wait for each other's additions; weights are integers, so the result does not depend on their order.
#include "kernels.h"
#include "logit_order.h"
#include "reduce.h"

namespace steerlab::gpu {
namespace {

constexpr int kThreads = 1024;

__global__ void __launch_bounds__(kThreads) lse_kernel(double* out, const float* logits, int V) {
  __shared__ float scratch[32];
  __shared__ double scratch64[32];
  const float* row = logits + static_cast<int64_t>(blockIdx.x) * V;
  float most = -INFINITY;
  for (int c = threadIdx.x; c < V; c += kThreads) most = fmaxf(most, row[c]);
  most = block_max(most, scratch);
  float sum = 0.0f;
  for (int c = threadIdx.x; c < V; c += kThreads) sum += expf(row[c] - most);
  const double total = block_sum(static_cast<double>(sum), scratch64);
  if (threadIdx.x == 0) out[blockIdx.x] = most + log(total);
}

__global__ void gather_kernel(double* out, const float* logits, const double* lse, const int32_t* ids, const int32_t* rows,
                              int count, int V) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) out[i] = static_cast<double>(logits[static_cast<int64_t>(rows[i]) * V + ids[i]]) - lse[rows[i]];
}

struct Found {
  uint64_t key;     // of the token at which the cumulative weight first exceeds the target
  uint64_t before;  // total weight of the greater keys
};
constexpr int kHistograms = 8;
struct Descent {
  unsigned long long histogram[kHistograms][256];
  uint64_t prefix, left;
};

// weight(c): integer weight of token c. target: below the total weight. All threads of the block call it and get the result.
template <class Weight>
__device__ Found descend(Descent& shared, const float* row, int V, uint64_t target, Weight weight) {
  if (threadIdx.x == 0) {
    shared.prefix = 0;
    shared.left = target;
  }
  unsigned long long* own = shared.histogram[threadIdx.x / 32 % kHistograms];
  for (int shift = 56; shift >= 0; shift -= 8) {
    if (shift == 24) {  // ids stay below 2^24: the top byte of their complement is the same for all
      __syncthreads();
      if (threadIdx.x == 0) shared.prefix = (shared.prefix << 8) | 255;
      __syncthreads();
      continue;
    }
    for (int i = threadIdx.x; i < kHistograms * 256; i += kThreads) (&shared.histogram[0][0])[i] = 0;
    __syncthreads();
    const uint64_t prefix = shared.prefix;
    for (int c = threadIdx.x; c < V; c += kThreads) {
      const uint64_t key = order_key(row[c], c);
      if (shift < 56 && key >> (shift + 8) != prefix) continue;
      const unsigned long long w = weight(c);
      if (w) atomicAdd(&own[(key >> shift) & 255], w);
    }
    __syncthreads();
    if (threadIdx.x < 256)
      for (int h = 1; h < kHistograms; ++h) shared.histogram[0][threadIdx.x] += shared.histogram[h][threadIdx.x];
    __syncthreads();
    if (threadIdx.x == 0) {
      int digit = 255;
      while (digit > 0 && shared.left >= shared.histogram[0][digit]) shared.left -= shared.histogram[0][digit--];
      shared.prefix = (prefix << 8) | static_cast<uint64_t>(digit);
    }
    __syncthreads();
  }
  const Found found{shared.prefix, target - shared.left};
  __syncthreads();  // the next descent starts over in the same memory
  return found;
}

__global__ void __launch_bounds__(kThreads)
    top_k_kernel(int32_t* ids, double* logprobs, const float* logits, const double* lse, int V, int k, int stride) {
  __shared__ Descent shared;
  __shared__ unsigned long long keys[kMaxTopK];
  __shared__ unsigned int taken;
  const float* row = logits + static_cast<int64_t>(blockIdx.x) * V;
  const Found last = descend(shared, row, V, static_cast<uint64_t>(k - 1), [](int) { return 1ull; });
  if (threadIdx.x == 0) taken = 0;
  keys[threadIdx.x] = 0;  // kMaxTopK == kThreads
  __syncthreads();
  for (int c = threadIdx.x; c < V; c += kThreads) {
    const uint64_t key = order_key(row[c], c);
    if (key >= last.key) keys[atomicAdd(&taken, 1u)] = key;  // exactly k of them: keys are unique
  }
  // bitonic sort, falling; the zeros at the end stay there
  for (int size = 2; size <= kMaxTopK; size *= 2)
    for (int step = size / 2; step > 0; step /= 2) {
      __syncthreads();
      const int i = threadIdx.x, other = i ^ step;
      if (other > i) {
        const bool falling = (i & size) == 0;
        const unsigned long long a = keys[i], b = keys[other];
        if ((a < b) == falling) {
          keys[i] = b;
          keys[other] = a;
        }
      }
    }
  __syncthreads();
  if (static_cast<int>(threadIdx.x) >= k) return;
  const int32_t id = order_id(keys[threadIdx.x]);
  const int64_t at = static_cast<int64_t>(blockIdx.x) * stride + threadIdx.x;
  ids[at] = id;
  logprobs[at] = static_cast<double>(row[id]) - lse[blockIdx.x];
}

// The id of the greatest key of a row: greatest logit, lowest id. All threads of the block call it and get the result.
__device__ int32_t argmax(uint64_t (&greatest)[kThreads], const float* row, int V) {
  uint64_t mine = 0;
  for (int c = threadIdx.x; c < V; c += kThreads) {
    const uint64_t key = order_key(row[c], c);
    if (key > mine) mine = key;
  }
  greatest[threadIdx.x] = mine;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < half && greatest[threadIdx.x + half] > greatest[threadIdx.x])
      greatest[threadIdx.x] = greatest[threadIdx.x + half];
  }
  __syncthreads();
  return order_id(greatest[0]);
}

__global__ void __launch_bounds__(kThreads)
    sample_kernel(int32_t* tokens, const float* logits, const float* uniform, float temperature, float top_p, int V) {
  __shared__ Descent shared;
  __shared__ uint64_t greatest[kThreads];
  __shared__ unsigned long long total;
  const float* row = logits + static_cast<int64_t>(blockIdx.x) * V;
  const int32_t best = argmax(greatest, row, V);
  if (temperature <= 0.0f) {
    if (threadIdx.x == 0) tokens[blockIdx.x] = best;
    return;
  }
  const float top = row[best];
  if (threadIdx.x == 0) total = 0;
  __syncthreads();
  unsigned long long mine = 0;
  for (int c = threadIdx.x; c < V; c += kThreads) mine += sampling_weight(row[c], top, temperature);
  atomicAdd(&total, mine);
  __syncthreads();
  const auto weight = [&](int c) { return static_cast<unsigned long long>(sampling_weight(row[c], top, temperature)); };
  const Found edge = descend(shared, row, V, nucleus_target(total, top_p), weight);
  const uint64_t kept = edge.before + weight(order_id(edge.key));
  const uint64_t target = static_cast<uint64_t>(static_cast<double>(uniform[blockIdx.x]) * static_cast<double>(kept));
  const Found drawn = descend(shared, row, V, target < kept ? target : kept - 1, weight);
  if (threadIdx.x == 0) tokens[blockIdx.x] = order_id(drawn.key);
}

}  // namespace

void log_sum_exp(cudaStream_t s, double* out, const float* logits, int n, int V) {
  LAUNCH(lse_kernel, dim3(n), dim3(kThreads), 0, s, out, logits, V);
}

void gather_logprobs(cudaStream_t s, double* out, const float* logits, const double* lse, const int32_t* ids,
                     const int32_t* rows, int count, int V) {
  LAUNCH(gather_kernel, dim3(blocks_for(count, 128)), dim3(128), 0, s, out, logits, lse, ids, rows, count, V);
}

void top_k(cudaStream_t s, int32_t* ids, double* logprobs, const float* logits, const double* lse, int n, int V, int k, int stride) {
  static_assert(kMaxTopK == kThreads);
  LAUNCH(top_k_kernel, dim3(n), dim3(kThreads), 0, s, ids, logprobs, logits, lse, V, k, stride);
}

void sample(cudaStream_t s, int32_t* tokens, const float* logits, const float* uniform, float temperature, float top_p, int n,
            int V) {
  LAUNCH(sample_kernel, dim3(n), dim3(kThreads), 0, s, tokens, logits, uniform, temperature, top_p, V);
}

}  // namespace steerlab::gpu
