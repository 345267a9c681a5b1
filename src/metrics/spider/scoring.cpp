#include "metrics/spider/scoring.h"

#include <map>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

#include "metrics/records.h"
#include "metrics/spider/comparable.h"
#include "metrics/spider/database_file.h"
#include "metrics/spider/execution.h"
#include "metrics/spider/parser.h"
#include "metrics/spider/sql_error.h"

namespace mpeft::metrics::spider {
namespace {

constexpr size_t kShownBytes = 200;

std::string shown(const std::string& query) {
  return to_valid_utf8(query.size() <= kShownBytes ? query : query.substr(0, kShownBytes) + "…");
}

/// The pairs of one database: its schema is read and its file opened once.
class DatabaseScorer {
 public:
  DatabaseScorer(const SpiderDatabase& database, const std::filesystem::path& path)
      : foreign_keys_(foreign_key_map(database)) {
    std::error_code ignored;
    if (std::filesystem::is_regular_file(path, ignored)) {
      file_ = std::make_unique<DatabaseFile>(path);
    } else {
      named_schema_ = std::make_unique<Schema>(schema_of(database));
    }
  }

  bool has_file() const { return file_ != nullptr; }

  // Sets `gold_failure` when the gold query cannot be parsed, or execution was asked for and it does not run.
  PairScore score(const std::string& prediction, const std::string& gold, bool execute,
                  std::string& gold_failure) const {
    PairScore score;
    std::string reason;
    const QueryPtr predicted_query = parse(prediction, reason);
    score.parsed = predicted_query != nullptr;
    const QueryPtr gold_query = parse(gold, gold_failure);
    if (gold_query == nullptr) return score;
    score.hardness = hardness_of(*gold_query);
    const Query left = score.parsed ? comparable(*predicted_query, foreign_keys_) : Query();
    const Query right = comparable(*gold_query, foreign_keys_);
    score.clauses = compare_clauses(left, right);
    score.exact = is_exact_match(left, right, score.clauses);
    if (!execute || !has_file()) return score;
    const QueryResult gold_result = file_->run(gold, right.select.size());
    gold_failure = gold_result.failure;
    if (!gold_failure.empty() || !score.parsed) return score;
    score.executes = same_result(file_->run(prediction, left.select.size()), left, gold_result, right);
    return score;
  }

 private:
  // nullptr, and why, for what cannot be parsed.
  QueryPtr parse(const std::string& query, std::string& reason) const {
    try {
      return parse_sql(query, file_ ? file_->schema() : *named_schema_);
    } catch (const SqlError& error) {
      reason = to_valid_utf8(error.what());
      return nullptr;
    }
  }

  const ForeignKeyMap foreign_keys_;
  std::unique_ptr<DatabaseFile> file_;
  std::unique_ptr<Schema> named_schema_;
};

std::string note_of_missing(const std::filesystem::path& folder, const std::map<std::string, size_t>& missing) {
  constexpr size_t kShownNames = 5;
  size_t n_records = 0;
  std::vector<std::string> names;
  for (const auto& [id, n] : missing) {
    n_records += n;
    if (names.size() < kShownNames) names.push_back(id);
  }
  if (missing.size() > names.size()) names.push_back("…");
  return str((folder / "database").string(), ": no file of ", missing.size(), " database(s) (", join(names, ", "),
             "): ", n_records, " record(s) cannot be executed and count as wrong");
}

}  // namespace

Scorer::Scorer(std::filesystem::path folder, bool execute) : folder_(std::move(folder)), execute_(execute) {
  databases_ = read_spider_tables(folder_ / "tables.json");
  std::error_code ignored;
  if (execute_ && !std::filesystem::is_directory(folder_ / "database", ignored)) {
    throw DataError(
        str((folder_ / "database").string(),
            ": no such folder; execution accuracy needs the databases, which come with Spider's own archive: "
            "https://yale-lily.github.io/spider"));
  }
}

PairScores Scorer::score(const std::vector<Record>& records) const {
  require_references(records);
  std::map<std::string, std::vector<size_t>> by_database;
  for (size_t i = 0; i < records.size(); ++i) {
    const Record& record = records[i];
    const std::string place = str("record ", i + 1, ": ");
    if (record.references.size() != 1)
      throw DataError(str(place, "expected one gold query, got ", record.references.size()));
    if (record.db_id.empty()) throw DataError(place + "no db_id: which database the query is for");
    if (databases_.count(record.db_id) == 0) {
      std::vector<std::string> known;
      for (const auto& [id, database] : databases_) known.push_back(id);
      throw DataError(str(place, "db_id '", to_valid_utf8(record.db_id), "' is not in ",
                          (folder_ / "tables.json").string(), did_you_mean(record.db_id, known)));
    }
    by_database[record.db_id].push_back(i);
  }

  PairScores scores;
  scores.pairs.resize(records.size());
  std::map<std::string, size_t> missing;
  size_t n_failed = 0;
  std::string first_failure;
  for (const auto& [id, indices] : by_database) {
    const DatabaseScorer database(databases_.at(id), folder_ / "database" / id / (id + ".sqlite"));
    if (execute_ && !database.has_file()) missing[id] = indices.size();
    for (const size_t i : indices) {
      const std::string& gold = records[i].references.front();
      std::string gold_failure;
      scores.pairs[i] = database.score(to_valid_utf8(records[i].prediction), gold, execute_, gold_failure);
      if (!gold_failure.empty() && n_failed++ == 0)
        first_failure = str("record ", i + 1, " (", id, "): ", gold_failure, ": ", shown(gold));
    }
  }
  if (!missing.empty()) scores.notes.push_back(note_of_missing(folder_, missing));
  if (n_failed > 0)
    scores.notes.push_back(str(n_failed, n_failed == 1 ? " gold query" : " gold queries",
                               " cannot be parsed or run; the prediction counts as wrong. First: ", first_failure));
  return scores;
}

}  // namespace mpeft::metrics::spider
