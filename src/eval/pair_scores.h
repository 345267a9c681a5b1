#pragma once

#include <string>
#include <vector>

#include "mpeft/eval/predictions.h"
#include "mpeft/metrics/metric.h"

namespace mpeft::eval {

/// The part of score_predictions (evaluator.h) that is about metrics of classes and numbers.
metrics::Scores score_pairs(const std::vector<Prediction>& predictions, const std::vector<std::string>& metric_names);

}  // namespace mpeft::eval
