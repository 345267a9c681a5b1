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
  std::optional<Hardness> hardness;  ///< of the gold query; nullopt when that cannot be parsed
  bool parsed = false;               ///< the prediction can be parsed
  bool exact = false;
  bool executes = false;  ///< gives the gold query's result; false where nothing was run
  ClauseScores clauses;
};

struct PairScores {
  std::vector<PairScore> pairs;    ///< in the order of the records
  std::vector<std::string> notes;  ///< gold queries that could not be parsed or run, for people
};

/// Scores Spider's predictions against a folder with `tables.json` and `database/<db_id>/<db_id>.sqlite`.
class Scorer {
 public:
  /// Throws DataError when tables.json, or with `execute` the folder `database`, is not there.
  Scorer(std::filesystem::path folder, bool execute);

  /// Each record has its gold query as the one reference, and a `db_id`. Tables and columns are those of the database's
  /// file, or, where that is absent, of tables.json. Noted, and the prediction wrong: for execution where the file is
  /// absent or the gold query does not run, for everything where the gold query cannot be parsed (one of Spider's 8,034
  /// cannot). Throws DataError naming the record for an unknown `db_id` and for more or fewer than one reference.
  PairScores score(const std::vector<Record>& records) const;

 private:
  std::filesystem::path folder_;
  bool execute_;
  SpiderDatabases databases_;
};

}  // namespace mpeft::metrics::spider
