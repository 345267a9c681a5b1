#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "mpeft/metrics/metric.h"
#include "mpeft/metrics/spider_database.h"

#include "metrics/spider/hardness.h"
#include "metrics/spider/partial_match.h"

namespace mpeft::metrics::spider {

/// What the official script says of one prediction.
struct PairScore {
  Hardness hardness = Hardness::kEasy;  ///< of the gold query
  bool parsed = false;                  ///< the prediction can be parsed
  bool exact = false;
  bool executes = false;  ///< gives the gold query's result; false where nothing was run
  ClauseScores clauses;
};

struct PairScores {
  std::vector<PairScore> pairs;    ///< in the order of the records
  std::vector<std::string> notes;  ///< gold queries that could not be run, for people
};

/// Scores Spider's predictions against a folder with `tables.json` and `database/<db_id>/<db_id>.sqlite`.
class Scorer {
 public:
  /// Throws DataError when tables.json, or with `execute` the folder `database`, is not there.
  Scorer(std::filesystem::path folder, bool execute);

  /// Each record has its gold query as the one reference, and a `db_id`. Tables and columns are those of the database's
  /// file, or, where that is absent, of tables.json; then, and where the gold query does not run, the prediction counts
  /// as wrong for execution, with a note. Throws DataError naming the record for an unknown `db_id`, for more or fewer
  /// than one reference, and for a gold query that cannot be parsed.
  PairScores score(const std::vector<Record>& records) const;

 private:
  std::filesystem::path folder_;
  bool execute_;
  SpiderDatabases databases_;
};

}  // namespace mpeft::metrics::spider
