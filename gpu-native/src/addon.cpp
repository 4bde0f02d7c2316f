// The Node-API binding: engine, model, cache, adapter and forward functions of index.d.ts. addon_train.cpp has the trainer's.
//
// Holds no state: everything hangs on the handles and on the environment's instance data (the list of engines to stop).
#include "addon.h"

#include <dlfcn.h>

#include <algorithm>
#include <sstream>
#include <thread>

#include "addon_call.h"
#include "addon_convert.h"
#include "loader.h"

namespace steerlab {
namespace {

// Engines of one JS environment; stopped when it ends (also when a worker thread ends).
struct Environment {
  std::vector<std::weak_ptr<Engine>> engines;
};

void stop_engines(Environment* environment) {
  for (const auto& weak : environment->engines)
    if (const auto engine = weak.lock()) engine->stop();
}

Napi::Value info(const Napi::CallbackInfo& call) {
  const Napi::Env env = call.Env();
  return guarded(env, [&]() -> Napi::Value {
    Napi::Object out = Napi::Object::New(env);
    out.Set("apiVersion", Napi::Number::New(env, kApiVersion));
    out.Set("compiler", Napi::String::New(env, STEERLAB_COMPILER));
    Napi::Array isas = Napi::Array::New(env);
    for (const char* isa : {"amx", "avx512bf16", "avx512", "avx2", "neon", "plain"}) {
      try {
        make_cpu_backend(DType::F32, 1, isa);
        isas.Set(isas.Length(), Napi::String::New(env, isa));
      } catch (const Error&) {
        // this processor or this build has no such kernels
      }
    }
    out.Set("isas", isas);
    out.Set("cores", Napi::Number::New(env, std::thread::hardware_concurrency()));
    const CudaStatus status = probe_cuda();
    const auto or_null = [&](const std::string& s) -> Napi::Value { return s.empty() ? env.Null() : Napi::String::New(env, s); };
    Napi::Object cuda = Napi::Object::New(env);
    cuda.Set("available", Napi::Boolean::New(env, status.available));
    cuda.Set("reason", Napi::String::New(env, status.reason));
    cuda.Set("library", or_null(status.library));
    cuda.Set("device", or_null(status.device));
    cuda.Set("driver", or_null(status.driver));
    cuda.Set("runtime", or_null(status.runtime));
    cuda.Set("gemm", or_null(status.gemm));
    const auto known = [&](uint64_t bytes) -> Napi::Value {
      return bytes == 0 ? env.Null() : Napi::Value(Napi::Number::New(env, static_cast<double>(bytes)));
    };
    cuda.Set("memoryBytes", known(status.memory_bytes));
    cuda.Set("memoryFreeBytes", known(status.memory_free_bytes));
    out.Set("cuda", cuda);
    return out;
  });
}

Napi::Value estimate(const Napi::CallbackInfo& call) {
  const Napi::Env env = call.Env();
  return guarded(env, [&]() -> Napi::Value {
    const Napi::Object options = call[0].As<Napi::Object>();
    const DType act = read_dtype(options, "dtype"), stored = read_dtype(options, "stored");
    const bool device = options.Get("backend").ToString().Utf8Value() == "cuda";
    const MemoryEstimate e = estimate_memory(read_config(call[1].As<Napi::Object>()), read_work(call[2].As<Napi::Object>()), act,
                                             kept_type(act, stored), device);
    Napi::Object out = Napi::Object::New(env);
    const auto set = [&](const char* name, size_t bytes) { out.Set(name, Napi::Number::New(env, static_cast<double>(bytes))); };
    set("weights", e.weights);
    set("adapters", e.adapters);
    set("keysAndValues", e.kv);
    set("activations", e.activations);
    set("workspace", e.workspace);
    set("context", e.context);
    set("total", e.total());
    return out;
  });
}

Napi::Value dequantise(const Napi::CallbackInfo& call) {
  const Napi::Env env = call.Env();
  return guarded(env, [&]() -> Napi::Value {
    const std::string name = call[0].ToString().Utf8Value();
    const BlockFormat* format = find_block_format(name);
    if (!format) throw Error("bad-dtype", "Expected a block format for dtype but received \"" + name + "\".");
    const auto bytes = call[1].As<Napi::Uint8Array>();
    const size_t blocks = bytes.ByteLength() / static_cast<size_t>(format->bytes);
    if (blocks * static_cast<size_t>(format->bytes) != bytes.ByteLength())
      throw Error("bad-request", "Expected whole blocks of " + std::to_string(format->bytes) + " bytes for dequantise.");
    Napi::Float32Array out = Napi::Float32Array::New(env, blocks * static_cast<size_t>(format->values));
    decode_blocks(*format, bytes.Data(), static_cast<int64_t>(out.ElementLength()), DType::F32, out.Data());
    return out;
  });
}

// A model handle may hold the engine's handle after JS has let go of it, so the external's payload is a shared pointer.
struct EngineRef {
  std::shared_ptr<EngineHandle> handle;
};

}  // namespace

template <>
struct HandleTag<EngineRef> : HandleTag<EngineHandle> {};

namespace {

Napi::Value create_engine(const Napi::CallbackInfo& call) {
  const Napi::Env env = call.Env();
  return guarded(env, [&]() -> Napi::Value {
    auto handle = std::make_shared<EngineHandle>();
    handle->engine = std::make_shared<Engine>(read_engine_options(call[0].As<Napi::Object>()));
    auto& engines = env.GetInstanceData<Environment>()->engines;
    std::erase_if(engines, [](const auto& weak) { return weak.expired(); });
    engines.push_back(handle->engine);
    return wrap<EngineRef>(env, std::make_unique<EngineRef>(EngineRef{handle}), [](Napi::Env, EngineRef* ref) { delete ref; });
  });
}

Napi::Value engine_description(const Napi::CallbackInfo& call) {
  return guarded(call.Env(), [&]() -> Napi::Value {
    return Napi::String::New(call.Env(), unwrap<EngineRef>(call[0]).handle->engine->description());
  });
}

Napi::Value counters(const Napi::CallbackInfo& call) {
  const Napi::Env env = call.Env();
  return guarded(env, [&]() -> Napi::Value {
    Engine& engine = *unwrap<EngineRef>(call[0]).handle->engine;
    std::string lines;
    engine.run_and_wait([&] { lines = engine.acquire_backend()->counters(); });
    Napi::Object out = Napi::Object::New(env);
    std::istringstream stream(lines);
    for (std::string line; std::getline(stream, line);) {
      const size_t equals = line.find('=');
      if (equals != std::string::npos) out.Set(line.substr(0, equals), Napi::Number::New(env, std::stod(line.substr(equals + 1))));
    }
    return out;
  });
}

void dispose_box(const std::shared_ptr<ModelBox>& box) {
  if (box->disposed) return;
  box->disposed = true;
  const bool last = --box->home->live_models == 0;
  box->engine()->post([box, last] {
    box->model->dispose();
    // Weights belong to the backend: without a model it goes too, and a later openModel makes a new one.
    if (last) box->engine()->drop_backend();
  });
}

Napi::Value open_model(const Napi::CallbackInfo& call) {
  const Napi::Env env = call.Env();
  return guarded(env, [&]() -> Napi::Value {
    auto box = std::make_shared<ModelBox>();
    box->home = unwrap<EngineRef>(call[0]).handle;
    box->config = read_config(call[1].As<Napi::Object>());
    std::shared_ptr<std::vector<TensorLocation>> tensors;
    if (call[2].IsArray()) tensors = std::make_shared<std::vector<TensorLocation>>(read_tensors(call[2].As<Napi::Array>()));
    const uint64_t seed = static_cast<uint64_t>(std::max(0.0, call[3].ToNumber().DoubleValue()));
    ++box->home->live_models;
    return start_call(
        env, box->engine(), call[4],
        [box, tensors, seed](const Job& job) {
          try {
            box->model = std::make_shared<Model>(box->engine()->acquire_backend(), box->config, tensors.get(), seed, job);
          } catch (...) {
            if (--box->home->live_models == 0) box->engine()->drop_backend();
            throw;
          }
        },
        [box](Napi::Env finishing) -> Napi::Value {
          auto handle = std::make_unique<ModelHandle>();
          handle->box = box;
          return wrap<ModelHandle>(finishing, std::move(handle), [](Napi::Env, ModelHandle* h) {
            dispose_box(h->box);
            delete h;
          });
        });
  });
}

Napi::Value dispose_model(const Napi::CallbackInfo& call) {
  return guarded(call.Env(), [&]() -> Napi::Value {
    dispose_box(unwrap<ModelHandle>(call[0]).box);
    return call.Env().Undefined();
  });
}

Napi::Value load_adapter(const Napi::CallbackInfo& call) {
  const Napi::Env env = call.Env();
  return guarded(env, [&]() -> Napi::Value {
    const std::shared_ptr<ModelBox>& box = unwrap<ModelHandle>(call[0]).box;
    live(box);
    auto parts = std::make_shared<std::vector<AdapterPart>>(read_parts(call[1].As<Napi::Array>()));
    check_parts(box->config, *parts);
    int64_t bytes = 0;
    for (const AdapterPart& part : *parts) bytes += static_cast<int64_t>((part.a.size() + part.b.size() + part.bias.size()) * sizeof(float));
    return wrap_pending<Adapter>(env, box, bytes, [box, parts] { return upload_adapter(box->model->memory(), box->config, *parts); });
  });
}

template <typename Handle>
Napi::Value dispose_owned(const Napi::CallbackInfo& call) {
  return guarded(call.Env(), [&]() -> Napi::Value {
    unwrap<Handle>(call[0]).drop(call.Env());
    return call.Env().Undefined();
  });
}

Napi::Value cache_length(const Napi::CallbackInfo& call) {
  return guarded(call.Env(), [&]() -> Napi::Value {
    return Napi::Number::New(call.Env(), live(unwrap<CacheHandle>(call[0])).content->length);
  });
}

Napi::Value read_cache(const Napi::CallbackInfo& call) {
  const Napi::Env env = call.Env();
  return guarded(env, [&]() -> Napi::Value {
    CacheHandle& handle = live(unwrap<CacheHandle>(call[0]));
    const std::shared_ptr<ModelBox> box = handle.box;
    const std::shared_ptr<const Cache> cache = handle.content;
    const int layer = call[1].ToNumber().Int32Value();
    if (layer < 0 || layer >= box->config.num_hidden_layers)
      throw Error("bad-layer", "Expected layer in [0, " + std::to_string(box->config.num_hidden_layers) + ") but received " + std::to_string(layer) + ".");
    const size_t width = static_cast<size_t>(box->config.kv_width());
    std::vector<float> k(static_cast<size_t>(cache->length) * width), v(k.size());
    box->engine()->run_and_wait([&] {
      Backend& be = box->model->backend();
      size_t at = 0;
      for (const KvBlock& block : cache->layers[static_cast<size_t>(layer)]) {
        const size_t count = static_cast<size_t>(block.len) * width;
        const DeviceBuffer wide(box->model->memory(), count * sizeof(float));
        be.to_f32({static_cast<float*>(wide.get()), block.k, count});
        be.download(k.data() + at, wide.get(), count * sizeof(float));
        be.to_f32({static_cast<float*>(wide.get()), block.v, count});
        be.download(v.data() + at, wide.get(), count * sizeof(float));
        at += count;
      }
    });
    Napi::Object out = Napi::Object::New(env);
    out.Set("k", float_value(env, k));
    out.Set("v", float_value(env, v));
    return out;
  });
}

Napi::Value forward(const Napi::CallbackInfo& call) {
  const Napi::Env env = call.Env();
  return guarded(env, [&]() -> Napi::Value {
    const std::shared_ptr<ModelBox> box = unwrap<ModelHandle>(call[0]).box;
    live(box);
    auto bound = std::make_shared<BoundForward>(read_forward(call[1].As<Napi::Object>(), *box));
    auto result = std::make_shared<ForwardResult>();
    return start_call(
        env, box->engine(), call[2],
        [box, bound, result](const Job& job) mutable {
          bound->resolve();
          *result = box->model->forward(bound->request, job);
          bound.reset();
        },
        [box, result](Napi::Env finishing) { return forward_value(finishing, box, *result); });
  });
}

Napi::Value generate(const Napi::CallbackInfo& call) {
  const Napi::Env env = call.Env();
  return guarded(env, [&]() -> Napi::Value {
    const std::shared_ptr<ModelBox> box = unwrap<ModelHandle>(call[0]).box;
    live(box);
    auto request = std::make_shared<GenerateRequest>();
    const Napi::Object o = call[1].As<Napi::Object>();
    auto bound = std::make_shared<BoundForward>(read_forward(o.Get("prompt").As<Napi::Object>(), *box));
    read_generate(o, *request);
    auto result = std::make_shared<GenerateResult>();
    return start_call(
        env, box->engine(), call[2],
        [box, bound, request, result](const Job& job) {
          bound->resolve();
          request->prompt = std::move(bound->request);
          *result = box->model->generate(*request, job);
          request->prompt = ForwardRequest{};
        },
        [result](Napi::Env finishing) { return generate_value(finishing, *result); });
  });
}

// The engine's threads must not outlive their code: a worker thread's end would otherwise unload the library.
void pin_library() {
  Dl_info here{};
  if (dladdr(reinterpret_cast<const void*>(&pin_library), &here) != 0 && here.dli_fname) dlopen(here.dli_fname, RTLD_NOW | RTLD_NODELETE | RTLD_NOLOAD);
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  pin_library();
  auto* environment = new Environment();
  env.SetInstanceData<Environment>(environment);
  env.AddCleanupHook(stop_engines, environment);
  const auto add = [&](const char* name, Napi::Value (*function)(const Napi::CallbackInfo&)) {
    exports.Set(name, Napi::Function::New(env, function, name));
  };
  exports.Set("apiVersion", Napi::Number::New(env, kApiVersion));
  add("info", info);
  add("estimateMemory", estimate);
  add("dequantise", dequantise);
  add("createEngine", create_engine);
  add("engineDescription", engine_description);
  add("counters", counters);
  add("openModel", open_model);
  add("disposeModel", dispose_model);
  add("loadAdapter", load_adapter);
  add("disposeAdapter", dispose_owned<AdapterHandle>);
  add("disposeCache", dispose_owned<CacheHandle>);
  add("cacheLength", cache_length);
  add("readCache", read_cache);
  add("forward", forward);
  add("generate", generate);
  add_trainer_functions(env, exports);
  return exports;
}

}  // namespace

}  // namespace steerlab

static Napi::Object register_steerlab(Napi::Env env, Napi::Object exports) { return steerlab::init(env, exports); }
NODE_API_MODULE(steerlab, register_steerlab)
