// A heavy call as a promise: work on the engine's thread, progress and result back on the JS thread.
#pragma once
#include <functional>
#include <memory>

#include "addon_napi.h"
#include "engine.h"
#include "job.h"

namespace steerlab {

// Starts `work` on the engine's thread; `finish` then makes the JS value on the JS thread. `job` is NativeJob of index.d.ts.
// An exception of either rejects the promise with the exception's code; an exception of onProgress stops the work and rejects.
Napi::Promise start_call(Napi::Env env, const std::shared_ptr<Engine>& engine, const Napi::Value& job,
                         std::function<void(const Job&)> work, std::function<Napi::Value(Napi::Env)> finish);

}  // namespace steerlab
