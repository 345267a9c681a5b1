#include "mpeft/optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

namespace mpeft::optim {

double Schedule::at(int64_t step) const {
  if (step < warmup_steps)
    return peak * static_cast<double>(step) / static_cast<double>(std::max<int64_t>(1, warmup_steps));
  if (shape == Shape::kConstant) return peak;
  const auto decay_steps = static_cast<double>(std::max<int64_t>(1, total_steps - warmup_steps));
  const double progress = std::clamp(static_cast<double>(step - warmup_steps) / decay_steps, 0.0, 1.0);
  if (shape == Shape::kCosine) return peak * 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
  return peak * (1.0 - progress);
}

Schedule::Shape schedule_shape_from_string(const std::string& name) {
  if (name == "linear") return Schedule::Shape::kLinear;
  if (name == "cosine") return Schedule::Shape::kCosine;
  if (name == "constant") return Schedule::Shape::kConstant;
  throw ConfigError(mpeft::str("lr_scheduler: unknown schedule '", name, "'",
                               did_you_mean(name, {"linear", "cosine", "constant"}),
                               "; one of linear, cosine, constant"));
}

std::string to_string(Schedule::Shape shape) {
  switch (shape) {
    case Schedule::Shape::kCosine:
      return "cosine";
    case Schedule::Shape::kConstant:
      return "constant";
    case Schedule::Shape::kLinear:
      break;
  }
  return "linear";
}

}  // namespace mpeft::optim
