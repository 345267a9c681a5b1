#pragma once

namespace mpeft::train {

/// While one lives, SIGINT, SIGTERM and SIGHUP (unless it was ignored, as under nohup) set a flag instead of ending the
/// process, so that a run can save itself; the first says so on standard error. A second one ends the process at once,
/// except SIGHUP.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
  static bool requested();
};

}  // namespace mpeft::train
