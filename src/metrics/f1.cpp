#include <set>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

#include "metrics/pairs.h"

namespace mpeft::metrics {
namespace {

/// Binary F1 of class 1, scikit-learn's f1_score: 0 when class 1 is neither predicted nor true.
class F1 : public ClassMetric {
  double score_classes(const std::vector<int64_t>& predictions, const std::vector<int64_t>& references) const override {
    // A prediction outside the true classes (-1: "no class") is wrong, but makes the task no less binary.
    const std::set<int64_t> classes(references.begin(), references.end());
    if (classes.size() > 2 || (classes.size() == 2 && !classes.contains(1))) {
      throw DataError(str("f1 is of two classes, 1 the positive one; the references have ", classes.size(), ": ",
                          describe(classes), ". Use accuracy or matthews"));
    }
    int64_t hits = 0;
    int64_t predicted = 0;
    int64_t positive = 0;
    for (size_t i = 0; i < predictions.size(); ++i) {
      hits += predictions[i] == 1 && references[i] == 1 ? 1 : 0;
      predicted += predictions[i] == 1 ? 1 : 0;
      positive += references[i] == 1 ? 1 : 0;
    }
    return predicted + positive == 0 ? 0.0
                                     : 2.0 * static_cast<double>(hits) / static_cast<double>(predicted + positive);
  }

  static std::string describe(const std::set<int64_t>& classes) {
    constexpr size_t kShown = 5;
    std::vector<std::string> shown;
    for (const int64_t c : classes) {
      shown.push_back(shown.size() < kShown ? str(c) : "…");
      if (shown.size() > kShown) break;
    }
    return join(shown, ", ");
  }
};

}  // namespace

std::unique_ptr<PairMetric> make_f1() { return std::make_unique<F1>(); }

}  // namespace mpeft::metrics
