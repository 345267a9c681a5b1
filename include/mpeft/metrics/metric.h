#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace mpeft::metrics {

/// One scored example: what was predicted and what would have been right.
struct Record {
  std::string prediction;
  std::vector<std::string> references;  ///< one or more
};

/// Values by name, in the order of the names ("bleu", "meteor", "rouge1", …); fractions, not percentages.
using Scores = std::map<std::string, double>;

/// A corpus metric over generated texts. Stateless: the same records give the same scores.
class Metric {
 public:
  virtual ~Metric() = default;

  /// Corpus scores. Throws DataError for an empty list or a record without references, naming the record.
  virtual Scores score(const std::vector<Record>& records) const = 0;

  /// Scores of one record alone, for `--per-example`.
  virtual Scores score_one(const Record& record) const { return score({record}); }
};

/// The registered names (metrics.def), sorted.
std::vector<std::string> metric_names();

/// Builds a metric by its registered name. Throws ConfigError for an unknown name, with a suggestion, and DataError
/// when a resource that it needs (WordNet for "meteor") is absent, saying how to install it.
std::unique_ptr<Metric> make_metric(const std::string& name);

}  // namespace mpeft::metrics
