#include "train/metric_floors.h"

#include <algorithm>

#include "mpeft/core/strings.h"

namespace mpeft::train {

std::string below_floor(const std::vector<EvalLine>& lines, const std::string& metric,
                        const std::map<int64_t, double>& floors) {
  for (const auto& [epoch, floor] : floors) {
    const auto line = std::ranges::find_if(
        lines, [&, e = epoch](const EvalLine& one) { return one.epoch >= e && one.metrics.contains(metric); });
    if (line == lines.end()) continue;
    const double value = line->metrics.at(metric);
    if (value >= floor) continue;  // NaN is below every floor
    return mpeft::str(metric, " is ", fixed(value, 4), " after epoch ", line->epoch, ", below the ", floor,
                      " that min_eval_metric_after_epoch asks for after epoch ", epoch);
  }
  return "";
}

}  // namespace mpeft::train
