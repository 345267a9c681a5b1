#pragma once

#include <chrono>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "app/run_all/child.h"
#include "app/run_all/experiments.h"
#include "app/run_all/run_files.h"

namespace mpeft::app {

enum class RunState {
  kWaiting,
  kRunning,
  kDone,
  kFinishedBefore,  ///< found finished: not run
  kTaken,           ///< another process runs it: not run
  kFailed,
  kInterrupted,
  kNotStarted,  ///< the schedule was stopped before
};

/// One experiment and what became of it.
struct Run {
  using Clock = std::chrono::steady_clock;
  Experiment experiment;
  RunState state = RunState::kWaiting;
  std::string device;  ///< where it runs or ran last; "" before
  int n_attempts = 0;
  ChildExit exit = {};  ///< of the last attempt
  std::string note;     ///< why it failed, where its output lies
  std::string error;    ///< all that its process said of the failure, where no file keeps it
  RunProgress progress = {};
  double seconds = 0;            ///< of all attempts that have ended
  Clock::time_point begin = {};  ///< of the running attempt
  std::optional<double> eta;     ///< seconds to its end; nullopt: not known
  bool has_begun = false;        ///< whether an attempt has written its manifest: what lies in the folder is this run's
};

/// How many runs are in which state.
struct RunCounts {
  int64_t waiting = 0, running = 0, done = 0, skipped = 0, failed = 0, interrupted = 0, not_started = 0;
};

/// Which run goes to which device, in order, one at a time on each. Knows no processes: its owner starts them and tells
/// how they ended.
class Schedule {
 public:
  /// `devices`: one worker each; a device named twice takes two runs at a time. `n_retries`: how often a run is tried
  /// again whose process crashed (exit code 1 or a signal: configuration, data and training errors would only repeat).
  Schedule(std::vector<Experiment> experiments, std::vector<std::string> devices, int n_retries);

  struct Assignment {
    size_t run;
    size_t worker;
  };
  /// The next waiting run for an idle worker that `is_usable` (its index) accepts, or nullopt. The run is running now.
  template <typename IsUsable>
  std::optional<Assignment> next(IsUsable&& is_usable);

  /// A run that need not run after all: kFinishedBefore.
  void skip(size_t run, RunState state);
  /// The process of a run ended: kDone, kTaken, kInterrupted, or kFailed with the reason; or it waits again.
  void end(size_t run, RunState state, ChildExit exit, std::string note);
  /// Starts nothing any more.
  void stop();

  bool is_over() const { return queue_.empty() && counts().running == 0; }
  RunCounts counts() const;
  /// The largest exit code of a run; 130 when one was interrupted or never started.
  int exit_code() const;
  /// Seconds until all is done, from the runs that ended and those that run; nullopt: not known yet.
  std::optional<double> eta(Run::Clock::time_point now) const;

  std::vector<Run>& runs() { return runs_; }
  const std::vector<Run>& runs() const { return runs_; }
  const std::vector<std::string>& devices() const { return devices_; }

 private:
  Assignment assign(size_t worker);

  std::vector<Run> runs_;
  std::vector<std::string> devices_;
  std::vector<std::optional<size_t>> busy_;  // per worker: its run
  std::deque<size_t> queue_;
  int n_retries_;
  bool is_stopped_ = false;
};

template <typename IsUsable>
std::optional<Schedule::Assignment> Schedule::next(IsUsable&& is_usable) {
  for (size_t worker = 0; worker < devices_.size() && !queue_.empty(); ++worker) {
    if (!busy_[worker] && is_usable(worker)) return assign(worker);
  }
  return std::nullopt;
}

}  // namespace mpeft::app
