// Threads of one engine. run(n, f) calls f(task, worker) for every task in [0, n), tasks handed out one at a time.
//
// Workers spin for a few microseconds after a job, then sleep on a futex; a worker that wakes after the job is over does not
// hold anybody up, because the caller waits only for workers that joined. Work is split over output elements only, so a
// result never depends on how many threads took part. Not re-entrant: one caller, no run() inside a task.
#pragma once
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace steerlab {

class Pool {
 public:
  explicit Pool(int threads);  // 0: all cores
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  template <class F>
  void run(int64_t tasks, const F& f) {
    if (tasks <= 0) return;
    if (workers_.empty() || tasks == 1) {
      for (int64_t i = 0; i < tasks; ++i) f(i, 0);
      return;
    }
    dispatch(tasks, [](const void* context, int64_t task, int worker) { (*static_cast<const F*>(context))(task, worker); }, &f);
  }

  // Splits [0, n) into runs of `grain` and calls f(begin, end, worker).
  template <class F>
  void run_ranges(int64_t n, int64_t grain, const F& f) {
    run((n + grain - 1) / grain, [&](int64_t i, int worker) {
      const int64_t begin = i * grain, end = begin + grain < n ? begin + grain : n;
      f(begin, end, worker);
    });
  }

 private:
  using Call = void (*)(const void* context, int64_t task, int worker);
  void dispatch(int64_t tasks, Call call, const void* context);
  void work(int worker);
  void drain(int worker);

  std::vector<std::thread> workers_;
  Call call_ = nullptr;
  const void* context_ = nullptr;
  int64_t tasks_ = 0;
  alignas(64) std::atomic<int64_t> next_{0};
  alignas(64) std::atomic<uint32_t> gate_{0};  // job number << 16 | open << 15 | workers that joined
  alignas(64) std::atomic<uint32_t> left_{0};  // workers that finished the present job
  std::atomic<bool> stop_{false};
};

}  // namespace steerlab
