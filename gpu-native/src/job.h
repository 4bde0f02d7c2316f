// What a running call may ask of its caller: has it been cancelled, and here is how far it is.
#pragma once
#include <functional>

#include "error.h"

namespace steerlab {

struct Job {
  std::function<bool()> cancelled;
  std::function<void(double done, double total)> progress;

  // Called between blocks and between micro-batches: the points at which a call may stop without harm.
  void checkpoint() const {
    if (cancelled && cancelled()) throw Error("aborted", "Stopped on request.");
  }
  void report(double done, double total) const {
    if (progress) progress(done, total);
  }
};

}  // namespace steerlab
