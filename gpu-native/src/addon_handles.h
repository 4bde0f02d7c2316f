// Opaque handles: tagged externals whose payload knows its engine, its model, and whether it was disposed.
//
// What a handle owns on the device is dropped on the engine's thread, after every call posted before: dispose() in JS is
// safe while calls that use the handle are still queued.
#pragma once
#include <atomic>
#include <memory>
#include <optional>

#include "addon_napi.h"
#include "engine.h"
#include "model.h"
#include "train.h"

namespace steerlab {

struct EngineHandle {
  std::shared_ptr<Engine> engine;
  std::atomic<int> live_models{0};  // opened or opening
};

// Shared by a model's handle and the handles of its caches, adapters and trainers.
struct ModelBox {
  std::shared_ptr<EngineHandle> home;
  std::shared_ptr<Model> model;
  ModelConfig config;
  bool disposed = false;
  const std::shared_ptr<Engine>& engine() const { return home->engine; }
};

// A thing that is made on the engine's thread after its handle was returned; a failure is told to whoever uses it.
template <typename T>
struct Pending {
  std::shared_ptr<T> value;
  std::optional<Failure> failure;
  const std::shared_ptr<T>& get() const {
    if (failure) throw Error(failure->code, failure->message);
    return value;
  }
};

template <typename T>
struct OwnedHandle {
  std::shared_ptr<ModelBox> box;
  std::shared_ptr<T> content;
  int64_t external_bytes = 0;
  bool disposed = false;

  void drop(Napi::Env env) {
    disposed = true;
    if (!content) return;
    if (external_bytes != 0) Napi::MemoryManagement::AdjustExternalMemory(env, -external_bytes);
    external_bytes = 0;
    box->engine()->post([held = std::move(content)]() mutable { held.reset(); });
    content.reset();
  }
};

struct ModelHandle {
  std::shared_ptr<ModelBox> box;
};
using CacheHandle = OwnedHandle<const Cache>;
using AdapterHandle = OwnedHandle<Pending<Adapter>>;
using TrainerHandle = OwnedHandle<Pending<Trainer>>;

template <typename T>
struct HandleTag;
template <>
struct HandleTag<EngineHandle> {
  static constexpr napi_type_tag tag{0x73746c6162000001ull, 0x656e67696e650001ull};
  static constexpr const char* name = "engine";
};
template <>
struct HandleTag<ModelHandle> {
  static constexpr napi_type_tag tag{0x73746c6162000002ull, 0x6d6f64656c000001ull};
  static constexpr const char* name = "model";
};
template <>
struct HandleTag<CacheHandle> {
  static constexpr napi_type_tag tag{0x73746c6162000003ull, 0x6361636865000001ull};
  static constexpr const char* name = "cache";
};
template <>
struct HandleTag<AdapterHandle> {
  static constexpr napi_type_tag tag{0x73746c6162000004ull, 0x6164617074000001ull};
  static constexpr const char* name = "adapter";
};
template <>
struct HandleTag<TrainerHandle> {
  static constexpr napi_type_tag tag{0x73746c6162000005ull, 0x747261696e000001ull};
  static constexpr const char* name = "trainer";
};

template <typename T>
Napi::Value wrap(Napi::Env env, std::unique_ptr<T> handle, void (*finalize)(Napi::Env, T*)) {
  Napi::External<T> external = Napi::External<T>::New(env, handle.get(), finalize);
  handle.release();
  external.TypeTag(&HandleTag<T>::tag);
  return external;
}

// Throws "bad-handle" for anything that is not a T.
template <typename T>
T& unwrap(const Napi::Value& value) {
  if (value.IsExternal()) {
    const Napi::External<T> external = value.As<Napi::External<T>>();
    if (external.CheckTypeTag(&HandleTag<T>::tag)) return *external.Data();
  }
  throw Error("bad-handle", std::string("Expected a handle of kind ") + HandleTag<T>::name + " but received something else.");
}

inline ModelBox& live(const std::shared_ptr<ModelBox>& box) {
  if (box->disposed) throw Error("disposed", "Expected a live model but it was disposed. Open the model again.");
  return *box;
}

template <typename T>
OwnedHandle<T>& live(OwnedHandle<T>& handle) {
  live(handle.box);
  if (handle.disposed)
    throw Error("disposed", std::string("Expected a live ") + HandleTag<OwnedHandle<T>>::name + " but it was disposed. Make it again.");
  return handle;
}

inline Napi::Value wrap_cache(Napi::Env env, const std::shared_ptr<ModelBox>& box, std::shared_ptr<const Cache> cache) {
  auto handle = std::make_unique<CacheHandle>();
  handle->box = box;
  handle->external_bytes = static_cast<int64_t>(cache->own_bytes);
  handle->content = std::move(cache);
  Napi::MemoryManagement::AdjustExternalMemory(env, handle->external_bytes);
  return wrap<CacheHandle>(env, std::move(handle), [](Napi::Env finalizing, CacheHandle* h) {
    h->drop(finalizing);
    delete h;
  });
}

}  // namespace steerlab
