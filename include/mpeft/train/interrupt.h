#pragma once

namespace mpeft::train {

/// While one lives, SIGINT and SIGTERM set a flag instead of ending the process, so that a run can save itself. A
/// second signal ends the process at once.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
  static bool requested();
};

}  // namespace mpeft::train
