// What the two files of the binding share.
#pragma once
#include <functional>
#include <memory>

#include "addon_handles.h"

namespace steerlab {

constexpr int kApiVersion = 1;

void add_trainer_functions(Napi::Env env, Napi::Object exports);

// A handle now, its content when the engine's thread gets to it.
template <typename T>
Napi::Value wrap_pending(Napi::Env env, const std::shared_ptr<ModelBox>& box, int64_t bytes, std::function<std::shared_ptr<T>()> make) {
  auto pending = std::make_shared<Pending<T>>();
  box->engine()->post([pending, make = std::move(make)]() mutable {
    try {
      pending->value = make();
    } catch (...) {
      pending->failure = failure_of(std::current_exception());
    }
    make = nullptr;
  });
  using Handle = OwnedHandle<Pending<T>>;
  auto handle = std::make_unique<Handle>();
  handle->box = box;
  handle->content = pending;
  handle->external_bytes = bytes;
  Napi::MemoryManagement::AdjustExternalMemory(env, bytes);
  return wrap<Handle>(env, std::move(handle), [](Napi::Env finalizing, Handle* h) {
    h->drop(finalizing);
    delete h;
  });
}

}  // namespace steerlab
