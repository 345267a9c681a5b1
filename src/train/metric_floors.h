#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "mpeft/train/metrics_log.h"

namespace mpeft::train {

/// Why the recorded evaluations end a run, "" when they do not. `floors`: epoch → what `metric` must reach in the first
/// evaluation at or after that epoch.
std::string below_floor(const std::vector<EvalLine>& lines, const std::string& metric,
                        const std::map<int64_t, double>& floors);

}  // namespace mpeft::train
