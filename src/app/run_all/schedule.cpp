#include "app/run_all/schedule.h"

#include <algorithm>

#include "mpeft/core/check.h"
#include "mpeft/core/error.h"

namespace mpeft::app {
namespace {

double seconds_since(Run::Clock::time_point begin, Run::Clock::time_point now) {
  return std::chrono::duration<double>(now - begin).count();
}

// Only what another attempt can cure: a crash, the kernel's out-of-memory killer, a device that somebody else filled.
bool is_worth_a_retry(ChildExit exit) { return exit.signal != 0 || exit.code == static_cast<int>(ExitCode::kInternal); }

}  // namespace

Schedule::Schedule(std::vector<Experiment> experiments, std::vector<std::string> devices, int n_retries)
    : devices_(std::move(devices)), busy_(devices_.size()), n_retries_(n_retries) {
  for (auto& experiment : experiments) {
    queue_.push_back(runs_.size());
    runs_.emplace_back().experiment = std::move(experiment);
  }
}

Schedule::Assignment Schedule::assign(size_t worker) {
  const size_t index = queue_.front();
  queue_.pop_front();
  busy_[worker] = index;
  Run& run = runs_[index];
  run.state = RunState::kRunning;
  run.device = devices_[worker];
  run.progress = {};
  run.eta.reset();
  ++run.n_attempts;
  run.begin = Run::Clock::now();
  return {index, worker};
}

void Schedule::skip(size_t index, RunState state) {
  MPEFT_ASSERT(runs_[index].state == RunState::kWaiting, "only a waiting run is skipped");
  runs_[index].state = state;
  queue_.erase(std::find(queue_.begin(), queue_.end(), index));
}

void Schedule::end(size_t index, RunState state, ChildExit exit, std::string note) {
  Run& run = runs_[index];
  MPEFT_ASSERT(run.state == RunState::kRunning, "only a running run ends");
  std::replace(busy_.begin(), busy_.end(), std::optional<size_t>(index), std::optional<size_t>());
  run.seconds += seconds_since(run.begin, Run::Clock::now());
  run.state = state;
  run.exit = exit;
  run.note = std::move(note);
  run.eta.reset();
  if (state == RunState::kFailed && is_worth_a_retry(exit) && run.n_attempts <= n_retries_ && !is_stopped_) {
    run.state = RunState::kWaiting;
    queue_.push_back(index);
  }
}

void Schedule::stop() {
  is_stopped_ = true;
  for (const size_t index : queue_) {
    Run& run = runs_[index];
    run.state = run.n_attempts > 0 ? RunState::kFailed : RunState::kNotStarted;  // failed: it waited for a retry
  }
  queue_.clear();
}

RunCounts Schedule::counts() const {
  RunCounts counts;
  for (const Run& run : runs_) {
    switch (run.state) {
      case RunState::kWaiting:
        ++counts.waiting;
        break;
      case RunState::kRunning:
        ++counts.running;
        break;
      case RunState::kDone:
        ++counts.done;
        break;
      case RunState::kFinishedBefore:
      case RunState::kTaken:
        ++counts.skipped;
        break;
      case RunState::kFailed:
        ++counts.failed;
        break;
      case RunState::kInterrupted:
        ++counts.interrupted;
        break;
      case RunState::kNotStarted:
        ++counts.not_started;
        break;
    }
  }
  return counts;
}

int Schedule::exit_code() const {
  int worst = 0;
  for (const Run& run : runs_) {
    if (run.state == RunState::kFailed) worst = std::max(worst, run.exit.exit_code());
    if (run.state == RunState::kInterrupted || run.state == RunState::kNotStarted) {
      worst = std::max(worst, static_cast<int>(ExitCode::kInterrupted));
    }
  }
  return worst;
}

std::optional<double> Schedule::eta(Run::Clock::time_point now) const {
  double whole_runs = 0, n_whole = 0;  // seconds of runs whose length is known, and how many
  double left = 0, longest = 0;
  int64_t waiting = 0;
  for (const Run& run : runs_) {
    if (run.state == RunState::kDone) {
      whole_runs += run.seconds;
      ++n_whole;
    } else if (run.state == RunState::kRunning) {
      if (!run.eta) return std::nullopt;
      whole_runs += seconds_since(run.begin, now) + *run.eta;
      ++n_whole;
      left += *run.eta;
      longest = std::max(longest, *run.eta);
    } else if (run.state == RunState::kWaiting) {
      ++waiting;
    }
  }
  if (waiting > 0 && n_whole == 0) return std::nullopt;
  if (waiting > 0) left += static_cast<double>(waiting) * whole_runs / n_whole;
  return std::max(longest, left / static_cast<double>(devices_.size()));
}

}  // namespace mpeft::app
