#pragma once

#include <cstdint>
#include <string>

namespace mpeft::optim {

/// How the learning rate moves over a run; the shapes and names of Hugging Face's schedulers.
struct Schedule {
  enum class Shape { kLinear, kCosine, kConstant };
  Shape shape = Shape::kLinear;
  double peak = 5e-4;
  int64_t warmup_steps = 0;
  int64_t total_steps = 1;

  /// Learning rate of optimizer step `step` (0-based): rises linearly over the warm-up, then linear or cosine decay to
  /// 0 at total_steps, or constant.
  double at(int64_t step) const;
};

/// "linear", "cosine" or "constant" (any other name: ConfigError with a suggestion).
Schedule::Shape schedule_shape_from_string(const std::string& name);
/// The name that schedule_shape_from_string reads.
std::string to_string(Schedule::Shape shape);

}  // namespace mpeft::optim
