#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <unordered_set>
#include <variant>
#include <vector>

#include "metrics/spider/schema.h"

struct sqlite3;

namespace mpeft::metrics::spider {

/// What a model wrote may run for ever, or try to fill the memory. A query that reaches a limit fails.
struct QueryLimits {
  int64_t max_steps = 200'000'000;  ///< instructions of SQLite's virtual machine: the same on every machine
  double max_seconds = 20;          ///< in case single instructions are slow; looked at every thousandth instruction
  size_t max_rows = 1'000'000;
  size_t max_bytes = size_t{256} << 20;  ///< of the values kept
};

struct Blob {
  std::string bytes;
  bool operator==(const Blob&) const = default;
};

/// A value as Python compares it: a whole number is the same as INTEGER and as REAL; NULL, text and blob are apart.
using Cell = std::variant<std::monostate, int64_t, double, std::string, Blob>;

struct QueryResult {
  std::string failure;  ///< why the query did not run to its end; "" when it did
  size_t n_rows = 0;
  size_t n_columns = 0;                    ///< that the query gives
  std::vector<std::vector<Cell>> columns;  ///< the first of them, as many as were asked for and are there
  int64_t n_steps = 0;                     ///< instructions, in thousands rounded down
};

/// An SQLite database that queries of unknown origin may read and nothing else. It is opened read-only and immutable
/// (no lock, no journal, not one byte written), an authorizer admits SELECT over the tables and views of the file and
/// functions known to be harmless, and size, depth, steps, time, rows and memory are limited. No pragma, no attached
/// file, no extension, no virtual table that is not in the file, no recursion, no temporary file.
class DatabaseFile {
 public:
  /// Throws DataError naming the path when it cannot be opened or is no database.
  explicit DatabaseFile(const std::filesystem::path& path);
  ~DatabaseFile();
  DatabaseFile(const DatabaseFile&) = delete;
  DatabaseFile& operator=(const DatabaseFile&) = delete;

  /// Its tables, without views, as the official script reads them.
  const Schema& schema() const { return *schema_; }

  /// Runs one query as Python's `cursor.execute` takes it: one statement, blanks and comments after it. Keeps the
  /// first `n_columns` columns. Never throws for what is wrong with the query: that is `failure`.
  QueryResult run(const std::string& query, size_t n_columns, const QueryLimits& limits = {}) const;

 private:
  struct Close {
    void operator()(sqlite3* connection) const;
  };
  void read_schema();
  void guard();
  static int authorize(void* self, int action, const char* first, const char* second, const char* database,
                       const char* trigger_or_view);

  std::string path_;
  std::unique_ptr<sqlite3, Close> connection_;
  std::unique_ptr<Schema> schema_;
  std::unordered_set<std::string> readable_;  // tables and views, in lower case
};

}  // namespace mpeft::metrics::spider
