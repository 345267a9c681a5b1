#include <algorithm>
#include <numeric>

#include "metrics/pairs.h"

namespace mpeft::metrics {
namespace {

/// Ranks from 1; equal values share the mean of their ranks.
std::vector<double> ranks(std::span<const double> x) {
  std::vector<size_t> order(x.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return x[a] < x[b]; });
  std::vector<double> result(x.size());
  for (size_t begin = 0; begin < order.size();) {
    size_t end = begin;
    while (end < order.size() && x[order[end]] == x[order[begin]]) ++end;
    const double shared = static_cast<double>(begin + 1 + end) / 2;
    for (; begin < end; ++begin) result[order[begin]] = shared;
  }
  return result;
}

/// Pearson's correlation of the ranks.
class Spearman : public PairMetric {
 public:
  double score(std::span<const double> predictions, std::span<const double> references) const override {
    require_pairs(predictions, references, 2);
    return pearson_correlation(ranks(predictions), ranks(references));
  }
  bool takes_classes() const override { return false; }
};

}  // namespace

std::unique_ptr<PairMetric> make_spearman() { return std::make_unique<Spearman>(); }

}  // namespace mpeft::metrics
