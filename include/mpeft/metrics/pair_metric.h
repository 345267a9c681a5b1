#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

namespace mpeft::metrics {

/// A metric over numbers: predicted against true classes (accuracy, f1, matthews) or values (pearson, spearman).
/// Stateless: the same numbers give the same value.
class PairMetric {
 public:
  virtual ~PairMetric() = default;

  /// The value over all pairs. `predictions` and `references` have the same length, one number an example; classes are
  /// integers. Throws DataError, naming the example from 1, for lengths that differ, too few examples, a number that is
  /// not finite or no integer where a class is meant, and for classes on which the metric is not defined. Pearson and
  /// Spearman are NaN where one side is constant, as SciPy's are.
  virtual double score(std::span<const double> predictions, std::span<const double> references) const = 0;

  /// True when the numbers are classes: integers, of which -1 may stand for "no class" (it equals no true class).
  virtual bool takes_classes() const = 0;
};

/// The registered names (metrics.def), sorted.
std::vector<std::string> pair_metric_names();

/// Builds a metric by its registered name. Throws ConfigError for an unknown name, with a suggestion.
std::unique_ptr<PairMetric> make_pair_metric(const std::string& name);

}  // namespace mpeft::metrics
