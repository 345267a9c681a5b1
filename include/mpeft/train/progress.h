#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace mpeft::train {

/// One live line on a terminal, rewritten in place; elsewhere a plain line every few seconds. Everything goes to
/// standard error.
class Progress {
 public:
  /// `label`: "epoch 2/10"; `total`: units of work to do, of which `done` were done before (a run that goes on).
  /// `after`: units that follow when these are done (other epochs): the time left counts them too.
  Progress(std::string label, int64_t total, int64_t done = 0, int64_t after = 0);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `done` of the total, and what is worth knowing now: "loss 0.412  lr 8.4e-04". Cheap: shows only when it is time
  /// to.
  void update(int64_t done, const std::string& details);
  /// True when update() would show something: spares the caller to collect details that nobody sees.
  bool is_due() const;
  /// Clears the live line (terminal only).
  void clear();

  /// Seconds that are left when `seconds` went by and `done` of the total are done; negative when it cannot be known
  /// yet.
  double seconds_left(double seconds, int64_t done) const;

 private:
  using Clock = std::chrono::steady_clock;
  std::string label_;
  int64_t total_, done_before_, after_;
  Clock::time_point begin_, last_shown_;
  bool shown_ = false;
};

}  // namespace mpeft::train
