// Spider's metrics (Yu et al. 2018, https://yale-lily.github.io/spider), equal to the official evaluation script's.
#include "mpeft/core/error.h"
#include "mpeft/core/logging.h"
#include "mpeft/core/strings.h"

#include "metrics/spider/scoring.h"

namespace mpeft::metrics {
namespace {

using spider::kClauses;
using spider::kHardnessNames;
using spider::PairScore;

// kClauses as the names of scores.
constexpr std::array<std::string_view, kClauses.size()> kClauseKeys = {
    "select", "select_no_agg", "where",  "where_no_op", "group_no_having",
    "group",  "order",         "and_or", "iuen",        "keywords"};

double share(size_t n, size_t total) { return total == 0 ? 0.0 : static_cast<double>(n) / static_cast<double>(total); }

// `name` over all pairs, and `name_<level>` over those of each level that occurs.
void add_by_hardness(const std::vector<PairScore>& pairs, const std::string& name, bool PairScore::*right,
                     Scores& scores) {
  std::array<size_t, kHardnessNames.size()> n_right{};
  std::array<size_t, kHardnessNames.size()> n_all{};
  size_t n_right_in_all = 0;
  for (const PairScore& pair : pairs) {
    n_right_in_all += pair.*right ? 1 : 0;
    if (!pair.hardness) continue;
    const auto level = static_cast<size_t>(*pair.hardness);
    ++n_all[level];
    n_right[level] += pair.*right ? 1 : 0;
  }
  scores[name] = share(n_right_in_all, pairs.size());
  for (size_t level = 0; level < n_all.size(); ++level) {
    if (n_all[level] > 0) scores[name + "_" + std::string(kHardnessNames[level])] = share(n_right[level], n_all[level]);
  }
}

// The script's means: accuracy over the predictions that have the clause, recall over the gold queries that have it.
void add_clauses(const std::vector<PairScore>& pairs, Scores& scores) {
  for (size_t i = 0; i < kClauses.size(); ++i) {
    size_t n_predicted = 0, n_label = 0, n_accurate = 0, n_recalled = 0;
    for (const PairScore& pair : pairs) {
      const auto& clause = pair.clauses[i];
      const size_t equal = clause.equal ? 1 : 0;
      if (clause.pred_total > 0) {
        ++n_predicted;
        n_accurate += equal;
      }
      if (clause.label_total > 0) {
        ++n_label;
        n_recalled += equal;
      }
    }
    const double accuracy = share(n_accurate, n_predicted);
    const double recall = share(n_recalled, n_label);
    const std::string key = "partial_" + std::string(kClauseKeys[i]);
    scores[key + "_acc"] = accuracy;
    scores[key + "_rec"] = recall;
    // 1 where both are 0, as the script has it: no query of either side has the clause, or none is right.
    scores[key + "_f1"] = accuracy == 0 && recall == 0 ? 1.0 : 2 * accuracy * recall / (accuracy + recall);
  }
}

enum class Parts { kExact, kExecution, kAll };

class Spider : public Metric {
 public:
  Spider(const std::filesystem::path& folder, Parts parts) : parts_(parts), scorer_(folder, parts != Parts::kExact) {}

  Scores score(const std::vector<Record>& records) const override {
    const auto scored = scorer_.score(records);
    for (const std::string& note : scored.notes) log::warning(note);
    return scores_of(scored.pairs);
  }

  Scores score_one(const Record& record) const override { return scores_of(scorer_.score({record}).pairs); }

 private:
  Scores scores_of(const std::vector<PairScore>& pairs) const {
    Scores scores;
    if (parts_ != Parts::kExecution) add_by_hardness(pairs, "exact", &PairScore::exact, scores);
    if (parts_ != Parts::kExact) add_by_hardness(pairs, "execution", &PairScore::executes, scores);
    if (parts_ == Parts::kAll) add_clauses(pairs, scores);
    return scores;
  }

  Parts parts_;
  spider::Scorer scorer_;
};

}  // namespace

std::unique_ptr<Metric> make_exact(const std::filesystem::path& folder) {
  return std::make_unique<Spider>(folder, Parts::kExact);
}
std::unique_ptr<Metric> make_execution(const std::filesystem::path& folder) {
  return std::make_unique<Spider>(folder, Parts::kExecution);
}
std::unique_ptr<Metric> make_spider(const std::filesystem::path& folder) {
  return std::make_unique<Spider>(folder, Parts::kAll);
}

}  // namespace mpeft::metrics
