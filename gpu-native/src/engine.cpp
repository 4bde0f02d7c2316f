#include "engine.h"

#include <exception>
#include <future>

#include "loader.h"

namespace steerlab {

Engine::Engine(const EngineOptions& options) : options_(options), state_(std::make_shared<State>()) {
  thread_ = std::thread([state = state_] { loop(state); });
  try {
    run_and_wait([this] { description_ = acquire_backend()->describe(); });
  } catch (...) {
    stop();
    throw;
  }
}

Engine::~Engine() { stop(); }

void Engine::loop(const std::shared_ptr<State>& state) {
  for (;;) {
    std::function<void()> work;
    {
      std::unique_lock<std::mutex> lock(state->mutex);
      state->wake.wait(lock, [&] { return state->stopping.load() || !state->queue.empty(); });
      if (state->queue.empty()) {
        state->backend.reset();
        state->ended = true;
        return;
      }
      work = std::move(state->queue.front());
      state->queue.pop_front();
    }
    work();
  }
}

void Engine::post(std::function<void()> work) {
  {
    std::lock_guard<std::mutex> lock(state_->mutex);
    if (!state_->stopping.load()) {
      state_->queue.push_back(std::move(work));
      state_->wake.notify_one();
      return;
    }
  }
  // Only destructors of buffers still come here; their Memory is closed or the thread has ended.
  work();
}

void Engine::run_and_wait(const std::function<void()>& work) {
  std::promise<void> done;
  std::future<void> result = done.get_future();
  post([&] {
    try {
      work();
      done.set_value();
    } catch (...) {
      done.set_exception(std::current_exception());
    }
  });
  result.get();
}

void Engine::stop() {
  {
    std::lock_guard<std::mutex> lock(state_->mutex);
    state_->stopping.store(true);
    state_->wake.notify_one();
  }
  if (!thread_.joinable()) return;
  // The last owner may be a closure that runs on the engine's own thread: the loop then ends by itself.
  if (thread_.get_id() == std::this_thread::get_id()) {
    thread_.detach();
  } else {
    thread_.join();
  }
}

std::shared_ptr<Backend> Engine::acquire_backend() {
  if (!state_->backend) {
    state_->backend = options_.cuda ? make_cuda_backend(options_.dtype)
                                    : std::shared_ptr<Backend>(make_cpu_backend(options_.dtype, options_.threads, options_.isa));
  }
  return state_->backend;
}

void Engine::drop_backend() { state_->backend.reset(); }

}  // namespace steerlab
