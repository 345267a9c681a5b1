#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace mpeft::metrics {

/// One scored example: what was predicted and what would have been right.
struct Record {
  std::string prediction;
  std::vector<std::string> references;  ///< one or more
  std::string db_id = {};               ///< Spider: the database that the query is for; "" elsewhere
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

/// The registered names (metrics.def), sorted: metrics of texts, and those that run queries.
std::vector<std::string> metric_names();

/// True for a metric that runs queries against databases (SQL_METRIC in metrics.def).
bool needs_databases(const std::string& name);

/// Builds a metric by its registered name. `databases` is for those that run queries: Spider's folder (tables.json and
/// database/). Throws ConfigError for an unknown name, with a suggestion, and when such a metric is given no folder;
/// DataError when a resource that it needs (WordNet for "meteor", that folder) is absent, saying how to get it.
std::unique_ptr<Metric> make_metric(const std::string& name, const std::filesystem::path& databases = {});

}  // namespace mpeft::metrics
