#include "metrics/pairs.h"

#include <cmath>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

namespace mpeft::metrics {

void require_pairs(std::span<const double> predictions, std::span<const double> references, size_t at_least) {
  if (predictions.size() != references.size()) {
    throw DataError(str(predictions.size(), " predictions for ", references.size(), " references"));
  }
  if (predictions.size() < at_least) {
    throw DataError(str("at least ", at_least, " example(s) are needed, got ", predictions.size()));
  }
  for (size_t i = 0; i < predictions.size(); ++i) {
    if (!std::isfinite(predictions[i]))
      throw DataError(str("example ", i + 1, ": the prediction is not a finite number"));
    if (!std::isfinite(references[i]))
      throw DataError(str("example ", i + 1, ": the reference is not a finite number"));
  }
}

std::vector<int64_t> to_classes(std::span<const double> numbers, const char* what) {
  constexpr double kLargest = 9007199254740992.0;  // 2^53: every integer up to here is a double
  std::vector<int64_t> classes;
  classes.reserve(numbers.size());
  for (size_t i = 0; i < numbers.size(); ++i) {
    if (numbers[i] != std::trunc(numbers[i]) || std::abs(numbers[i]) > kLargest) {
      throw DataError(str("example ", i + 1, ": the ", what, " ", numbers[i], " is no class (an integer)"));
    }
    classes.push_back(static_cast<int64_t>(numbers[i]));
  }
  return classes;
}

double ClassMetric::score(std::span<const double> predictions, std::span<const double> references) const {
  require_pairs(predictions, references, 1);
  return score_classes(to_classes(predictions, "prediction"), to_classes(references, "reference"));
}

}  // namespace mpeft::metrics
