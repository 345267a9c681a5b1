#include "metrics/spider/database_file.h"

#include <chrono>
#include <cmath>
#include <sqlite3.h>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

#include "metrics/spider/sql_tokens.h"

namespace mpeft::metrics::spider {
namespace {

using Clock = std::chrono::steady_clock;

struct Finalize {
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using Statement = std::unique_ptr<sqlite3_stmt, Finalize>;

constexpr int kStepsBetweenLooks = 1000;
// All that SQLite may hold at a time, sorted rows and temporary tables included. It is one limit for the process.
constexpr sqlite3_int64 kMaxHeapBytes = sqlite3_int64{256} << 20;

// What Spider's grammar has, and a few that cost no more than reading their argument. `printf` counts to a billion in
// one instruction, and `trim`, `replace` and `instr` take the product of two lengths; a query that the parser accepts
// has such a function only in what the parser skips.
const std::unordered_set<std::string_view>& harmless_functions() {
  static const std::unordered_set<std::string_view> names = {
      "count",  "sum",   "avg",   "min",    "max",       "total",    "like",   "glob",   "abs", "round",
      "length", "lower", "upper", "substr", "substring", "coalesce", "ifnull", "nullif", "iif", "typeof"};
  return names;
}

// file:/path?… with everything but the harmless characters of the path escaped.
std::string uri_of(const std::filesystem::path& path) {
  constexpr const char* kHex = "0123456789ABCDEF";
  std::string uri = "file:";
  for (const char c : std::filesystem::absolute(path).string()) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '/' ||
                       c == '.' || c == '-' || c == '_';
    if (plain) {
      uri += c;
    } else {
      uri += {'%', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return uri + "?mode=ro&immutable=1";
}

// True when nothing but blanks and comments is left. What Python lets follow a statement.
bool is_blank(std::string_view rest) {
  while (!rest.empty()) {
    size_t skip = 1;
    if (rest.starts_with("--")) {
      skip = rest.find('\n');
    } else if (rest.starts_with("/*")) {
      skip = rest.find("*/", 2);
      if (skip != std::string_view::npos) skip += 2;
    } else if (std::string_view(" \t\f\n\r").find(rest.front()) == std::string_view::npos) {
      return false;
    }
    if (skip == std::string_view::npos) return true;
    rest.remove_prefix(skip);
  }
  return true;
}

std::string bytes_of(const void* data, int size) {
  return data == nullptr ? std::string() : std::string(static_cast<const char*>(data), static_cast<size_t>(size));
}

Cell cell_of(sqlite3_stmt* statement, int column) {
  switch (sqlite3_column_type(statement, column)) {
    case SQLITE_INTEGER:
      return int64_t{sqlite3_column_int64(statement, column)};
    case SQLITE_FLOAT: {
      const double number = sqlite3_column_double(statement, column);
      constexpr double kTwoTo63 = 9223372036854775808.0;
      const bool is_whole = number == std::trunc(number) && number >= -kTwoTo63 && number < kTwoTo63;
      return is_whole ? Cell(static_cast<int64_t>(number)) : Cell(number);
    }
    case SQLITE_TEXT: {
      const void* text = sqlite3_column_text(statement, column);
      return bytes_of(text, sqlite3_column_bytes(statement, column));
    }
    case SQLITE_BLOB: {
      const void* blob = sqlite3_column_blob(statement, column);
      return Blob{bytes_of(blob, sqlite3_column_bytes(statement, column))};
    }
    default:
      return std::monostate();
  }
}

size_t bytes_of(const Cell& cell) {
  size_t bytes = sizeof(Cell);
  if (const auto* text = std::get_if<std::string>(&cell)) bytes += text->size();
  if (const auto* blob = std::get_if<Blob>(&cell)) bytes += blob->bytes.size();
  return bytes;
}

/// Counts instructions of one query and ends it at the limits.
class Watch {
 public:
  Watch(sqlite3* connection, const QueryLimits& limits) : connection_(connection), limits_(limits) {
    sqlite3_progress_handler(connection, kStepsBetweenLooks, &Watch::look, this);
  }
  ~Watch() { sqlite3_progress_handler(connection_, 0, nullptr, nullptr); }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  int64_t n_steps() const { return n_steps_; }
  const std::string& reached() const { return reached_; }

 private:
  static int look(void* self) {
    auto& watch = *static_cast<Watch*>(self);
    watch.n_steps_ += kStepsBetweenLooks;
    if (watch.n_steps_ > watch.limits_.max_steps) {
      watch.reached_ = str("more than ", watch.limits_.max_steps, " steps");
    } else if (std::chrono::duration<double>(Clock::now() - watch.start_).count() > watch.limits_.max_seconds) {
      watch.reached_ = str("longer than ", watch.limits_.max_seconds, " s");
    }
    return watch.reached_.empty() ? 0 : 1;
  }

  sqlite3* connection_;
  const QueryLimits limits_;
  const Clock::time_point start_ = Clock::now();
  int64_t n_steps_ = 0;
  std::string reached_;
};

}  // namespace

void DatabaseFile::Close::operator()(sqlite3* connection) const { sqlite3_close(connection); }

DatabaseFile::DatabaseFile(const std::filesystem::path& path) : path_(path.string()) {
  sqlite3* opened = nullptr;
  const int flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX;
  const int status = sqlite3_open_v2(uri_of(path).c_str(), &opened, flags, nullptr);
  connection_.reset(opened);
  if (status != SQLITE_OK) {
    throw DataError(
        str(path_, ": cannot be opened (", opened == nullptr ? "out of memory" : sqlite3_errmsg(opened), ")"));
  }
  sqlite3_hard_heap_limit64(kMaxHeapBytes);
  sqlite3_exec(opened, "PRAGMA temp_store = MEMORY", nullptr, nullptr, nullptr);
  read_schema();
  guard();
}

DatabaseFile::~DatabaseFile() = default;

void DatabaseFile::read_schema() {
  const auto query = [&](const char* text) {
    sqlite3_stmt* prepared = nullptr;
    sqlite3_prepare_v2(connection_.get(), text, -1, &prepared, nullptr);
    return Statement(prepared);
  };
  const auto next_row = [&](const Statement& statement) {
    const int status = statement ? sqlite3_step(statement.get()) : SQLITE_ERROR;
    if (status != SQLITE_ROW && status != SQLITE_DONE)
      throw DataError(str(path_, ": cannot be read as an SQLite database (", sqlite3_errmsg(connection_.get()), ")"));
    return status == SQLITE_ROW;
  };
  const auto text = [](const Statement& statement, int column) {
    const void* bytes = sqlite3_column_text(statement.get(), column);
    return bytes_of(bytes, sqlite3_column_bytes(statement.get(), column));
  };

  std::vector<Schema::Table> tables;
  const Statement names = query("SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view')");
  while (next_row(names)) {
    const std::string name = text(names, 0);
    readable_.insert(mpeft::to_lower(name));
    if (text(names, 1) == "table") tables.push_back({name, {}});
  }
  const Statement columns = query("SELECT name FROM pragma_table_info(?)");
  for (Schema::Table& table : tables) {
    if (columns) {
      sqlite3_reset(columns.get());
      sqlite3_bind_text(columns.get(), 1, table.name.data(), static_cast<int>(table.name.size()), SQLITE_STATIC);
    }
    while (next_row(columns)) table.columns.push_back(text(columns, 0));
  }
  schema_ = std::make_unique<Schema>(std::move(tables));
}

void DatabaseFile::guard() {
  sqlite3* connection = connection_.get();
  for (const auto& [option, value] : {std::pair{SQLITE_DBCONFIG_DEFENSIVE, 1},
                                      {SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
                                      {SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0},
                                      {SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, 0},
                                      {SQLITE_DBCONFIG_ENABLE_TRIGGER, 0},
                                      {SQLITE_DBCONFIG_DQS_DML, 1}}) {  // Spider's literals stand in double quotes
    sqlite3_db_config(connection, option, value, nullptr);
  }
  constexpr int kMaxTextBytes = 256 << 10;
  for (const auto& [limit, value] : {std::pair{SQLITE_LIMIT_LENGTH, kMaxTextBytes},
                                     {SQLITE_LIMIT_SQL_LENGTH, static_cast<int>(kMaxQueryBytes)},
                                     {SQLITE_LIMIT_EXPR_DEPTH, 500},
                                     {SQLITE_LIMIT_COMPOUND_SELECT, 100},
                                     {SQLITE_LIMIT_VDBE_OP, 200'000},
                                     {SQLITE_LIMIT_ATTACHED, 0},
                                     {SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 256},
                                     {SQLITE_LIMIT_VARIABLE_NUMBER, 0},
                                     {SQLITE_LIMIT_TRIGGER_DEPTH, 1},
                                     {SQLITE_LIMIT_WORKER_THREADS, 0}}) {
    sqlite3_limit(connection, limit, value);
  }
  sqlite3_set_authorizer(connection, &DatabaseFile::authorize, this);
}

int DatabaseFile::authorize(void* self, int action, const char* first, const char* second, const char* database,
                            const char*) {
  const auto& file = *static_cast<const DatabaseFile*>(self);
  const auto lower = [](const char* name) { return mpeft::to_lower(name == nullptr ? "" : name); };
  bool allowed = false;
  if (action == SQLITE_SELECT) {
    allowed = true;
  } else if (action == SQLITE_READ) {
    allowed = file.readable_.count(lower(first)) > 0 && (database == nullptr || lower(database) == "main");
  } else if (action == SQLITE_FUNCTION) {
    allowed = harmless_functions().count(lower(second)) > 0;
  }
  return allowed ? SQLITE_OK : SQLITE_DENY;
}

QueryResult DatabaseFile::run(const std::string& query, size_t n_columns, const QueryLimits& limits) const {
  QueryResult result;
  if (query.size() > kMaxQueryBytes) result.failure = str("longer than ", kMaxQueryBytes, " bytes");
  if (query.find('\0') != std::string::npos) result.failure = "holds a NUL character";
  if (!result.failure.empty()) return result;

  const Watch watch(connection_.get(), limits);
  sqlite3_stmt* prepared = nullptr;
  const char* rest = nullptr;
  const int prepare_status =
      sqlite3_prepare_v2(connection_.get(), query.c_str(), static_cast<int>(query.size()) + 1, &prepared, &rest);
  const Statement statement(prepared);
  if (prepare_status != SQLITE_OK) {
    result.failure = to_valid_utf8(sqlite3_errmsg(connection_.get()));
  } else if (!is_blank(rest)) {
    result.failure = "more than one statement";
  } else if (sqlite3_column_count(prepared) == 0 || sqlite3_stmt_readonly(prepared) == 0) {
    result.failure = "no query";
  }
  if (!result.failure.empty()) return result;

  const int n_given = sqlite3_column_count(prepared);
  result.n_columns = static_cast<size_t>(n_given);
  result.columns.resize(std::min(n_columns, result.n_columns));
  size_t n_bytes = 0;
  int status = SQLITE_ROW;
  while ((status = sqlite3_step(prepared)) == SQLITE_ROW) {
    for (size_t i = 0; i < result.columns.size(); ++i) {
      result.columns[i].push_back(cell_of(prepared, static_cast<int>(i)));
      n_bytes += bytes_of(result.columns[i].back());
    }
    if (++result.n_rows > limits.max_rows || n_bytes > limits.max_bytes) {
      result.failure = result.n_rows > limits.max_rows ? str("more than ", limits.max_rows, " rows")
                                                       : str("more than ", human_bytes(limits.max_bytes));
      return result;
    }
  }
  result.n_steps = watch.n_steps();
  if (status != SQLITE_DONE)
    result.failure = watch.reached().empty() ? to_valid_utf8(sqlite3_errmsg(connection_.get())) : watch.reached();
  return result;
}

}  // namespace mpeft::metrics::spider
