#include "metrics/pairs.h"

namespace mpeft::metrics {
namespace {

/// The share of predictions that equal their reference.
class Accuracy : public ClassMetric {
  double score_classes(const std::vector<int64_t>& predictions, const std::vector<int64_t>& references) const override {
    size_t equal = 0;
    for (size_t i = 0; i < predictions.size(); ++i) equal += predictions[i] == references[i] ? 1 : 0;
    return static_cast<double>(equal) / static_cast<double>(predictions.size());
  }
};

}  // namespace

std::unique_ptr<PairMetric> make_accuracy() { return std::make_unique<Accuracy>(); }

}  // namespace mpeft::metrics
