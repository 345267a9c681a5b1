#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "metrics/pairs.h"

namespace mpeft::metrics {
namespace {

bool is_constant(std::span<const double> x) {
  return std::all_of(x.begin(), x.end(), [&](double value) { return value == x[0]; });
}

/// The deviations from the mean, divided by their norm.
std::vector<double> standardise(std::span<const double> x) {
  const double mean = std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size());
  std::vector<double> deviations(x.begin(), x.end());
  // The largest one is taken out first, so that no square overflows or vanishes.
  double largest = 0;
  for (double& value : deviations) {
    value -= mean;
    largest = std::max(largest, std::abs(value));
  }
  double sum = 0;
  for (double& value : deviations) {
    value /= largest;
    sum += value * value;
  }
  for (double& value : deviations) value /= std::sqrt(sum);
  return deviations;
}

class Pearson : public PairMetric {
 public:
  double score(std::span<const double> predictions, std::span<const double> references) const override {
    require_pairs(predictions, references, 2);
    return pearson_correlation(predictions, references);
  }
  bool takes_classes() const override { return false; }
};

}  // namespace

double pearson_correlation(std::span<const double> x, std::span<const double> y) {
  if (is_constant(x) || is_constant(y)) return std::numeric_limits<double>::quiet_NaN();
  const std::vector<double> u = standardise(x);
  const std::vector<double> v = standardise(y);
  return std::clamp(std::inner_product(u.begin(), u.end(), v.begin(), 0.0), -1.0, 1.0);
}

std::unique_ptr<PairMetric> make_pearson() { return std::make_unique<Pearson>(); }

}  // namespace mpeft::metrics
