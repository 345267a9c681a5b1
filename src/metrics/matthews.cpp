#include <cmath>
#include <map>

#include "metrics/pairs.h"

namespace mpeft::metrics {
namespace {

/// Matthews' correlation for any number of classes (Gorodkin, "Comparing two K-category assignments by a K-category
/// correlation coefficient", 2004), scikit-learn's matthews_corrcoef: 0 when all predictions or all references are
/// equal.
class Matthews : public ClassMetric {
  double score_classes(const std::vector<int64_t>& predictions, const std::vector<int64_t>& references) const override {
    struct Totals {
      double predicted = 0;
      double referred = 0;
    };
    std::map<int64_t, Totals> totals;
    double correct = 0;
    for (size_t i = 0; i < predictions.size(); ++i) {
      ++totals[predictions[i]].predicted;
      ++totals[references[i]].referred;
      correct += predictions[i] == references[i] ? 1 : 0;
    }
    const auto n = static_cast<double>(predictions.size());
    double covariance = correct * n;
    double predicted_variance = n * n;
    double referred_variance = n * n;
    for (const auto& [label, total] : totals) {
      covariance -= total.predicted * total.referred;
      predicted_variance -= total.predicted * total.predicted;
      referred_variance -= total.referred * total.referred;
    }
    const double product = predicted_variance * referred_variance;
    return product == 0 ? 0.0 : covariance / std::sqrt(product);
  }
};

}  // namespace

std::unique_ptr<PairMetric> make_matthews() { return std::make_unique<Matthews>(); }

}  // namespace mpeft::metrics
