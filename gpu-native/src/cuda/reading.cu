// Reading logits: log-sum-exp, log-probabilities of chosen ids, the top k, and sampling. One block per row.
//
// Top k and sampling walk the keys of logit_order.h digit by digit with histograms in shared memory, several of them so that warps
// do not wait for each other's additions; weights are integers, so the result does not depend on their order. They are added in two
// halves of 16 and 17 bits: shared memory adds 32 bits at once, but 64 only by trying until no one else has.
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
constexpr int kHistograms = 8, kDigits = 256;
constexpr int kMostTokens = kHistograms * 65536;  // whose halves a histogram can add up without overflow
struct Descent {
  unsigned int low[kHistograms][kDigits], high[kHistograms][kDigits];
  double sums[kDigits];  // exact: below 2^53
  uint64_t prefix, left;
};

// The digit at which the sums, added up from 255 downwards, first exceed shared.left, which loses the sums above it. For one warp.
__device__ int find_digit(Descent& shared) {
  constexpr int kEach = kDigits / 32;
  const int lane = threadIdx.x % 32, first = kDigits - 1 - lane * kEach;  // this lane's digits: first, first - 1, ...
  const double left = static_cast<double>(shared.left);
  double own = 0;
  for (int i = 0; i < kEach; ++i) own += shared.sums[first - i];
  double until = own;  // with the lanes before
  for (int step = 1; step < 32; step *= 2) {
    const double before = shuffle(until, lane >= step ? lane - step : lane);
    if (lane >= step) until += before;
  }
  __syncwarp();  // everyone has read shared.left
  double above = until - own;
  if (!(above <= left && left < until)) return -1;
  int digit = first;
  while (left - above >= shared.sums[digit]) above += shared.sums[digit--];
  shared.left = static_cast<uint64_t>(left - above);
  return digit;
}

// weight(c): integer weight of token c. target: below the total weight. All threads of the block call it and get the result.
template <class Weight>
__device__ Found descend(Descent& shared, const float* row, int V, uint64_t target, Weight weight) {
  if (threadIdx.x == 0) {
    shared.prefix = 0;
    shared.left = target;
  }
  unsigned int *low = shared.low[threadIdx.x / 32 % kHistograms], *high = shared.high[threadIdx.x / 32 % kHistograms];
  for (int shift = 56; shift >= 0; shift -= 8) {
    if (shift == 24) {  // ids stay below 2^24: the top byte of their complement is the same for all
      __syncthreads();
      if (threadIdx.x == 0) shared.prefix = (shared.prefix << 8) | 255;
      __syncthreads();
      continue;
    }
    for (int i = threadIdx.x; i < kHistograms * kDigits; i += kThreads) (&shared.low[0][0])[i] = (&shared.high[0][0])[i] = 0;
    __syncthreads();
    const uint64_t prefix = shared.prefix;
    for (int c = threadIdx.x; c < V; c += kThreads) {
      const uint64_t key = order_key(row[c], c);
      if (shift < 56 && key >> (shift + 8) != prefix) continue;
      const uint64_t w = weight(c);
      const int digit = static_cast<int>((key >> shift) & 255);
      if (w & 65535) atomicAdd(&low[digit], static_cast<unsigned int>(w & 65535));
      if (w >> 16) atomicAdd(&high[digit], static_cast<unsigned int>(w >> 16));
    }
    __syncthreads();
    if (threadIdx.x < kDigits) {
      uint64_t sum = 0;
      for (int h = 0; h < kHistograms; ++h) sum += shared.low[h][threadIdx.x] + (static_cast<uint64_t>(shared.high[h][threadIdx.x]) << 16);
      shared.sums[threadIdx.x] = static_cast<double>(sum);
    }
    __syncthreads();
    if (threadIdx.x < 32) {
      const int digit = find_digit(shared);
      if (digit >= 0) shared.prefix = (prefix << 8) | static_cast<uint64_t>(digit);
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
  const Found last = descend(shared, row, V, static_cast<uint64_t>(k - 1), [](int) { return uint64_t(1); });
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

__global__ void __launch_bounds__(kThreads) greedy_kernel(int32_t* tokens, const float* logits, int V) {
  __shared__ uint64_t greatest[kThreads];
  const int32_t best = argmax(greatest, logits + static_cast<int64_t>(blockIdx.x) * V, V);
  const float top = logits[static_cast<int64_t>(blockIdx.x) * V + best];
  if (threadIdx.x == 0) tokens[blockIdx.x] = fabsf(top) < INFINITY ? best : kNoToken;
}

__global__ void __launch_bounds__(kThreads)
    sample_kernel(int32_t* tokens, const float* logits, const float* uniform, float temperature, float top_p, int V) {
  __shared__ Descent shared;
  __shared__ uint64_t greatest[kThreads];
  __shared__ double scratch[32];
  const float* row = logits + static_cast<int64_t>(blockIdx.x) * V;
  const float top = row[argmax(greatest, row, V)];
  if (!(fabsf(top) < INFINITY)) {  // the same for all threads
    if (threadIdx.x == 0) tokens[blockIdx.x] = kNoToken;
    return;
  }
  const auto weight = [&](int c) { return sampling_weight(row[c], top, temperature); };
  double mine = 0;  // integers below 2^53: any order gives the same sum
  for (int c = threadIdx.x; c < V; c += kThreads) mine += static_cast<double>(weight(c));
  const uint64_t total = static_cast<uint64_t>(block_sum(mine, scratch));
  uint64_t kept = total;
  if (top_p < 1.0f) {
    const Found edge = descend(shared, row, V, nucleus_target(total, top_p), weight);
    kept = edge.before + weight(order_id(edge.key));
  }
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
  if (temperature <= 0.0f) {
    LAUNCH(greedy_kernel, dim3(n), dim3(kThreads), 0, s, tokens, logits, V);
    return;
  }
  if (V > kMostTokens)
    throw Error("vocabulary", "Expected at most " + std::to_string(kMostTokens) + " tokens to sample from on the device but received " +
                                  std::to_string(V) + ". Use temperature 0 or the cpu backend.");
  LAUNCH(sample_kernel, dim3(n), dim3(kThreads), 0, s, tokens, logits, uniform, temperature, top_p, V);
}

}  // namespace steerlab::gpu
