// CudaMemory: allocation, copies, weights, counters, and the choice of matrix product.
#include <cstring>
#include <mutex>

#include "cuda_backend.h"

namespace steerlab {
namespace {

std::string mib(size_t bytes) { return std::to_string(bytes >> 20) + " MiB"; }

}  // namespace

namespace {

// Errors of earlier kernels surface wherever the runtime is asked next; with this set they surface at their own launch.
bool launches_block() { return process_environment("CUDA_LAUNCH_BLOCKING") == "1"; }

std::string named(cudaError_t status) { return std::string(cudaGetErrorString(status)) + " (" + cudaGetErrorName(status) + ")"; }

}  // namespace

void check_cuda(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // clears what can be cleared
  if (status == cudaErrorMemoryAllocation)
    throw Error("out-of-memory", std::string("Expected device memory for ") + what + " but the device has none left. " +
                                     "Use a smaller batch, shorter contexts or a smaller model.");
  throw Error("cuda", std::string("Expected ") + what + " to succeed on the device but received: " + named(status) + "." +
                          (launches_block() ? "" : " Set CUDA_LAUNCH_BLOCKING=1 to learn which kernel failed."));
}

void check_launch(cudaError_t status, const char* call) {
  if (status == cudaSuccess) return;
  const std::string what = "kernel " + kernel_of(call) + (launches_block() ? "" : ", or one before it,");
  check_cuda(status, what.c_str());
}

#ifndef STEERLAB_CUDA_EMULATION
void allow_shared(const void* kernel, size_t dynamic, const char* call) {
  static std::mutex guard;
  static std::map<const void*, size_t> fixed, allowed;  // static bytes; dynamic bytes asked for so far
  const std::lock_guard<std::mutex> held(guard);
  if (fixed.find(kernel) == fixed.end()) {
    cudaFuncAttributes attributes{};
    check_launch(cudaFuncGetAttributes(&attributes, kernel), call);
    fixed[kernel] = attributes.sharedSizeBytes;
  }
  if (!must_ask_for_shared(dynamic, fixed[kernel]) || dynamic <= allowed[kernel]) return;
  int most = 0;
  check_cuda(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0), "reading the device's shared memory");
  if (dynamic + fixed[kernel] > static_cast<size_t>(most))
    throw Error("shared-memory", "Expected at most " + std::to_string(most) + " bytes of shared memory per block for kernel " + kernel_of(call) +
                                     " but it needs " + std::to_string(dynamic + fixed[kernel]) + ". Use the cpu backend for this model.");
  check_launch(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(dynamic)), call);
  allowed[kernel] = dynamic;
}
#endif

CudaMemory::CudaMemory(DType act, std::string device, size_t device_bytes)
    : act_(act),
      lora_on_matrix_units_(act == DType::BF16 && process_environment("STEERLAB_CUDA_LORA") != "plain"),
      attention_on_matrix_units_(process_environment("STEERLAB_CUDA_ATTENTION") != "plain"),
      device_(std::move(device)) {
  check_cuda(cudaSetDevice(0), "choosing the device");
  check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "stream");
  pool_ = std::make_unique<BlockPool>(
      [](size_t bytes) -> void* {
        void* p = nullptr;
        const cudaError_t status = cudaMalloc(&p, bytes);
        if (status == cudaSuccess) return p;
        if (status != cudaErrorMemoryAllocation) check_cuda(status, "taking device memory");  // a broken device is not a full one
        cudaGetLastError();
        return nullptr;
      },
      [this](void* p) {
        cudaStreamSynchronize(stream_);
        cudaFree(p);
      });
  times_ = std::make_unique<OpTimes>(stream_, process_environment("STEERLAB_CUDA_TIMES") == "1");
  arena_ = std::make_unique<WeightArena>(device_virtual_memory(), arena_sizes(device_bytes));
  staging_ = std::make_unique<Staging>(stream_);
  cublaslt_ = CublasLt::open(gemm_candidates(process_environment), device_, gemm_);
}

CudaMemory::~CudaMemory() {
  cudaStreamSynchronize(stream_);
  for (auto& entry : plain_weights_) cudaFree(entry.first);
  cublaslt_.reset();
  staging_.reset();
  times_.reset();
  arena_.reset();
  pool_.reset();
  cudaStreamDestroy(stream_);
}

std::string CudaMemory::describe() const {
  std::string text = "cuda " + device_ + ", " + (act_ == DType::BF16 ? "bf16" : "f32") + ", " +
                     (act_ == DType::BF16 ? gemm_ : std::string("own F32 matrix products"));
  if (cublaslt_ && act_ == DType::BF16 && !cublaslt_->choices().empty()) text += "; " + cublaslt_->choices();
  if (!arena_->usable()) text += "; no address space for weights: neighbouring projections are multiplied one by one";
  else if (arena_->attempts() > 1) text += "; " + mib(arena_->reserved()) + " of address space for weights, more was refused";
  if (arena_->usable() && !plain_weights_.empty())
    text += "; " + std::to_string(plain_weights_.size()) + " matrices lie apart and are multiplied one by one";
  return text;
}

void* CudaMemory::allocate(size_t bytes) {
  void* p = pool_->allocate(bytes);
  if (p) return p;
  size_t free_bytes = 0, total = 0;
  cudaMemGetInfo(&free_bytes, &total);
  throw Error("out-of-memory", "Expected " + mib(bytes) + " of device memory but " + mib(free_bytes) + " of " + mib(total) +
                                   " are free (weights " + mib(arena_->committed()) + ", activations and caches " + mib(pool_->used()) +
                                   "). Use a smaller micro-batch, shorter contexts, or dispose caches.");
}

void CudaMemory::release(void* p) {
  if (!p || pool_->release(p)) return;
  for (auto at = biases_.begin(); at != biases_.end();) {
    if (at->first.first == p && at->second) pool_->release(at->second);
    at = at->first.first == p ? biases_.erase(at) : std::next(at);
  }
  synchronize();  // weights: address space is unmapped at once, unlike a block of the pool
  if (arena_->release(p)) return;
  const auto found = plain_weights_.find(p);
  if (found == plain_weights_.end()) throw Error("internal", "Expected a pointer of this backend but received another one.");
  cudaFree(p);
  plain_weights_.erase(found);
}

void CudaMemory::upload(void* dst, const void* host, size_t bytes) {
  if (!bytes) return;
  count("upload");
  staging_->upload(dst, host, bytes);
}

void CudaMemory::download(void* host, const void* src, size_t bytes) {
  if (bytes) check_cuda(cudaMemcpyAsync(host, src, bytes, cudaMemcpyDeviceToHost, stream_), "download");
  synchronize();
}

void CudaMemory::copy(void* dst, const void* src, size_t bytes) {
  if (bytes) check_cuda(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToDevice, stream_), "copy");
}

void CudaMemory::zero(void* dst, size_t bytes) {
  if (bytes) check_cuda(cudaMemsetAsync(dst, 0, bytes, stream_), "clearing memory");
}

void CudaMemory::synchronize() {
  const cudaError_t status = cudaStreamSynchronize(stream_);
  if (status != cudaSuccess) staging_->forget();  // their receivers go away with the exception
  check_cuda(status, "waiting for the device");
  times_->collect();
  staging_->deliver();
}

void* CudaMemory::weight_memory(size_t bytes) {
  void* p = arena_->allocate(bytes);
  if (!p && pool_->trim() > 0) p = arena_->allocate(bytes);  // what earlier work left in the pool made the room short
  if (p) return p;
  check_cuda(cudaMalloc(&p, bytes), "weights");
  plain_weights_[p] = bytes;
  return p;
}

Weight CudaMemory::load_matrix(const HostTensor& t) {
  Weight w;
  w.type = kept_type(act_, t.type);
  w.out = static_cast<int>(t.rows);
  w.in = static_cast<int>(t.cols);
  const size_t count = static_cast<size_t>(t.rows) * static_cast<size_t>(t.cols), bytes = count * bytes_of(w.type);
  void* data = weight_memory(bytes);
  if (w.type == t.type) staging_->upload(data, t.data, bytes);
  else if (w.type == DType::BF16) staging_->upload_converted(static_cast<bf16*>(data), t.data, t.type, count);
  else staging_->upload_converted(static_cast<float*>(data), t.data, t.type, count);
  w.data = data;
  return w;
}

// Vectors do not come from the arena: they would part the matrices that should lie end to end.
const float* CudaMemory::load_vector(const HostTensor& t) {
  const size_t count = static_cast<size_t>(t.rows) * static_cast<size_t>(t.cols);
  float* data = static_cast<float*>(allocate(count * sizeof(float)));
  if (t.type == DType::F32) staging_->upload(data, t.data, count * sizeof(float));
  else staging_->upload_converted(data, t.data, t.type, count);
  return data;
}

Weight CudaMemory::random_matrix(int out, int in, float std, uint64_t seed, uint32_t stream) {
  Weight w;
  w.type = kept_type(act_, act_);
  w.out = out;
  w.in = in;
  const size_t count = static_cast<size_t>(out) * static_cast<size_t>(in);
  void* data = weight_memory(count * bytes_of(w.type));
  if (w.type == DType::BF16) gpu::random_normal(stream_, static_cast<bf16*>(data), count, std, seed, stream);
  else gpu::random_normal(stream_, static_cast<float*>(data), count, std, seed, stream);
  w.data = data;
  return w;
}

void CudaMemory::product(const gpu::Gemm& g, DType weight, bool float_output) {
  if (g.n == 0 || g.cols == 0) return;
  const Timed timed(*this, g.input_gradient ? "product_backward" : "product");
  if (act_ != DType::BF16) {
    count("gemm.tile");
    if (weight == DType::BF16) gpu::tile_gemm<float, bf16, float>(stream_, g);
    else gpu::tile_gemm<float, float, float>(stream_, g);
    return;
  }
  if (cublaslt_ && cublaslt_->run(stream_, g, float_output)) return count("gemm.cublaslt");
  if (float_output ? gpu::mma_gemm<float>(stream_, g) : gpu::mma_gemm<bf16>(stream_, g)) return count("gemm.mma");
  count("gemm.tile");
  if (float_output) gpu::tile_gemm<bf16, bf16, float>(stream_, g);
  else gpu::tile_gemm<bf16, bf16, bf16>(stream_, g);
}

bool CudaMemory::product_with_bias(gpu::Gemm g, DType weight, const gpu::BiasParts& parts) {
  if (!cublaslt_ || act_ != DType::BF16 || weight != DType::BF16) return false;
  auto at = biases_.find({g.w, g.cols});
  if (at == biases_.end()) {  // once per weight: the host waits
    std::vector<bf16> whole;
    bool exact = true;
    for (int i = 0; i < parts.count; ++i) {
      std::vector<float> wide(static_cast<size_t>(parts.part[i].out), 0.0f);
      if (parts.part[i].bias) download(wide.data(), parts.part[i].bias, sizeof(float) * wide.size());
      for (const float v : wide) {
        whole.push_back(to_bf16(v));
        exact = exact && to_float(whole.back()) == v;
      }
    }
    bf16* kept = nullptr;
    if (exact) {
      kept = static_cast<bf16*>(allocate(sizeof(bf16) * whole.size()));
      upload(kept, whole.data(), sizeof(bf16) * whole.size());
    }
    at = biases_.emplace(std::pair{g.w, g.cols}, kept).first;  // only now: a failure before is no answer
  }
  g.bias = at->second;
  if (!g.bias || g.n == 0) return false;
  const Timed timed(*this, "product");
  if (!cublaslt_->run(stream_, g, false)) return false;
  count("gemm.cublaslt");
  count("gemm.bias");
  return true;
}

std::string CudaMemory::counters() const {
  std::string lines;
  for (const auto& c : counts_) lines += c.first + "=" + std::to_string(c.second) + "\n";
  if (cublaslt_ && cublaslt_->tried())
    lines += "gemm.tried=" + std::to_string(cublaslt_->tried()) + "\ngemm.rejected=" + std::to_string(cublaslt_->rejected()) + "\n";
  lines += times_->lines();
  lines += "memory.address_space=" + std::to_string(arena_->reserved()) + "\n";
  lines += "memory.weights=" + std::to_string(arena_->committed()) + "\n";
  lines += "memory.matrices=" + std::to_string(arena_->live() + plain_weights_.size()) + "\n";
  lines += "memory.used=" + std::to_string(pool_->used()) + "\n";
  lines += "memory.peak_used=" + std::to_string(pool_->peak_used()) + "\n";
  lines += "memory.reserved=" + std::to_string(pool_->reserved()) + "\n";
  lines += "memory.peak=" + std::to_string(arena_->committed() + pool_->peak_reserved()) + "\n";
  size_t free_bytes = 0, total = 0;
  if (cudaMemGetInfo(&free_bytes, &total) == cudaSuccess) lines += "memory.device=" + std::to_string(total - free_bytes) + "\n";
  lines += "results.pending=" + std::to_string(staging_->pending()) + "\n";
  return lines;
}

}  // namespace steerlab
