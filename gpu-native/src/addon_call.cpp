#include "addon_call.h"

#include <atomic>
#include <chrono>
#include <mutex>
#include <optional>

namespace steerlab {
namespace {

constexpr auto kProgressInterval = std::chrono::milliseconds(50);  // at most 20 reports a second

struct Call {
  explicit Call(Napi::Env env) : deferred(Napi::Promise::Deferred::New(env)) {}
  Napi::Promise::Deferred deferred;
  Napi::FunctionReference on_progress;
  Napi::ObjectReference cancel;  // keeps the memory of the flag alive
  int32_t* cancel_flag = nullptr;
  std::atomic<bool> listener_failed{false};
  Napi::Reference<Napi::Value> listener_error;
  std::function<Napi::Value(Napi::Env)> finish;
  std::optional<Failure> failure;

  bool cancelled() const {
    return listener_failed.load() || (cancel_flag && std::atomic_ref<int32_t>(*cancel_flag).load(std::memory_order_relaxed) != 0);
  }
  // JS thread.
  void release_js() {
    on_progress.Reset();
    cancel.Reset();
    finish = nullptr;
  }
};

using Shared = std::shared_ptr<Call>;

struct Message {
  bool last = false;
  double done = 0, total = 0;
};

void settle(Napi::Env env, Call& call) {
  if (call.listener_failed.load()) {
    call.deferred.Reject(call.listener_error.Value());
    call.listener_error.Reset();
  } else if (call.failure) {
    call.deferred.Reject(js_error(env, call.failure->code, call.failure->message).Value());
  } else {
    try {
      call.deferred.Resolve(call.finish(env));
    } catch (const Napi::Error& e) {
      call.deferred.Reject(e.Value());
    } catch (...) {
      const Failure f = failure_of(std::current_exception());
      call.deferred.Reject(js_error(env, f.code, f.message).Value());
    }
  }
  call.release_js();
}

void on_js_thread(Napi::Env env, Napi::Function, Shared* context, Message* message) {
  const std::unique_ptr<Message> owned(message);
  if (env == nullptr || context == nullptr) return;  // the environment is ending: nobody waits any more
  Call& call = **context;
  Napi::HandleScope scope(env);
  if (owned->last) return settle(env, call);
  if (call.on_progress.IsEmpty() || call.listener_failed.load()) return;
  try {
    call.on_progress.Call({Napi::Number::New(env, owned->done), Napi::Number::New(env, owned->total)});
  } catch (const Napi::Error& e) {
    call.listener_error = Napi::Reference<Napi::Value>::New(e.Value(), 1);
    call.listener_failed.store(true);
  }
}

using Port = Napi::TypedThreadSafeFunction<Shared, Message, on_js_thread>;

void read_job(const Napi::Value& job, Call& call) {
  if (!job.IsObject()) return;
  const Napi::Object options = job.As<Napi::Object>();
  const Napi::Value listener = options.Get("onProgress");
  if (listener.IsFunction()) call.on_progress = Napi::Persistent(listener.As<Napi::Function>());
  const Napi::Value flag = options.Get("cancel");
  if (flag.IsUndefined() || flag.IsNull()) return;
  if (!flag.IsTypedArray() || flag.As<Napi::TypedArray>().TypedArrayType() != napi_int32_array || flag.As<Napi::TypedArray>().ElementLength() < 1)
    throw Error("bad-request", "Expected an Int32Array of at least one element for cancel.");
  call.cancel = Napi::Persistent(flag.As<Napi::Object>());
  call.cancel_flag = flag.As<Napi::Int32Array>().Data();
}

}  // namespace

Napi::Promise start_call(Napi::Env env, const std::shared_ptr<Engine>& engine, const Napi::Value& job,
                         std::function<void(const Job&)> work, std::function<Napi::Value(Napi::Env)> finish) {
  Shared call = std::make_shared<Call>(env);
  read_job(job, *call);
  call->finish = std::move(finish);
  const bool reports = !call->on_progress.IsEmpty();
  const Napi::Promise promise = call->deferred.Promise();
  auto* context = new Shared(call);
  // The port keeps the event loop alive until the call has settled; its finaliser runs on the JS thread.
  Port port = Port::New(env, "steerlab", 0, 1, context, [](Napi::Env, void*, Shared* held) {
    (*held)->release_js();
    delete held;
  });
  engine->post([call, port, reports, work = std::move(work), watch = std::weak_ptr<Engine>(engine)]() mutable {
    bool closed = false;
    auto last = std::chrono::steady_clock::time_point{};
    Job run;
    run.cancelled = [&] {
      const auto alive = watch.lock();
      return call->cancelled() || !alive || alive->stopping();
    };
    if (reports) {
      run.progress = [&](double done, double total) {
        const auto now = std::chrono::steady_clock::now();
        if (closed || (done < total && now - last < kProgressInterval)) return;
        last = now;
        closed = port.NonBlockingCall(new Message{false, done, total}) != napi_ok;
      };
    }
    try {
      run.checkpoint();
      work(run);
    } catch (...) {
      call->failure = failure_of(std::current_exception());
    }
    work = nullptr;  // what the call held on the device goes before the next job
    // After a refused call the port may be gone: only a port that never refused is released.
    if (!closed && port.NonBlockingCall(new Message{true, 0, 0}) == napi_ok) port.Release();
  });
  return promise;
}

}  // namespace steerlab
