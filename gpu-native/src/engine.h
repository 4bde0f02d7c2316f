// One queue and one thread per engine: every device call of an engine runs there, in call order.
//
// Reads closures from post(); gives their effects. The backend is made on that thread (a CUDA context belongs to its thread), and is
// dropped when its last model is disposed, so that memory returns at once; the next model makes a new one.
// stop() cancels what runs, drops what waits (each job still settles through its own `dropped` path) and joins.
#pragma once
#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "backend.h"

namespace steerlab {

struct EngineOptions {
  bool cuda = false;
  DType dtype = DType::F32;
  int threads = 0;
  std::string isa;
};

class Engine {
 public:
  explicit Engine(const EngineOptions& options);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  const EngineOptions& options() const { return options_; }
  const std::string& description() const { return description_; }

  // Runs `work` on the engine's thread after everything posted before. After stop() it runs at once on the caller's thread.
  void post(std::function<void()> work);
  // As post(), and waits. Exceptions of `work` are thrown here. Must not be called from the engine's thread.
  void run_and_wait(const std::function<void()>& work);

  // Cancels, drains and joins; idempotent; called when the JS environment ends.
  void stop();
  bool stopping() const { return state_->stopping.load(); }

  // Engine thread only.
  std::shared_ptr<Backend> acquire_backend();
  void drop_backend();

 private:
  struct State {
    std::mutex mutex;
    std::condition_variable wake;
    std::deque<std::function<void()>> queue;
    std::atomic<bool> stopping{false};
    bool ended = false;
    std::shared_ptr<Backend> backend;
  };
  static void loop(const std::shared_ptr<State>& state);

  EngineOptions options_;
  std::shared_ptr<State> state_;
  std::thread thread_;
  std::string description_;
};

}  // namespace steerlab
