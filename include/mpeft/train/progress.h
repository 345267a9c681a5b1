#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace mpeft::train {

/// One live line on a terminal, rewritten in place; elsewhere a plain line every few seconds. Everything goes to
/// standard error.
class Progress {
 public:
  /// `label`: "epoch 2/10"; `total`: units of work to do.
  Progress(std::string label, int64_t total);
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

 private:
  using Clock = std::chrono::steady_clock;
  std::string label_;
  int64_t total_;
  Clock::time_point begin_, last_shown_;
  bool shown_ = false;
};

}  // namespace mpeft::train
