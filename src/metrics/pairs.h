#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "mpeft/metrics/pair_metric.h"

namespace mpeft::metrics {

/// Throws DataError when the lengths differ, there are fewer than `at_least` examples or a number is not finite.
void require_pairs(std::span<const double> predictions, std::span<const double> references, size_t at_least);

/// The numbers as classes, after require_pairs(…, 1). Throws DataError naming the first example that is no integer.
std::vector<int64_t> to_classes(std::span<const double> numbers, const char* what);

/// A metric of predicted and true classes, of equal length and at least one.
class ClassMetric : public PairMetric {
 public:
  double score(std::span<const double> predictions, std::span<const double> references) const final;
  bool takes_classes() const final { return true; }

 private:
  virtual double score_classes(const std::vector<int64_t>& predictions,
                               const std::vector<int64_t>& references) const = 0;
};

/// Pearson's r of two series of equal length, at least two; NaN when one is constant.
double pearson_correlation(std::span<const double> x, std::span<const double> y);

}  // namespace mpeft::metrics
