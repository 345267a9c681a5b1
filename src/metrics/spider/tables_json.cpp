#include <limits>

#include <nlohmann/json.hpp>

#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"
#include "mpeft/core/json.h"
#include "mpeft/core/strings.h"
#include "mpeft/metrics/spider_database.h"

namespace mpeft::metrics {
namespace {

using nlohmann::json;

constexpr uint64_t kLargestTables = uint64_t{256} << 20;
constexpr int kMaxDepth = 16;

json parse(const std::string& path) {
  const std::string text = fs::read_file(path, kLargestTables);
  if (trim(text).empty()) throw DataError(path + ": is empty; expected a JSON list of databases");
  json document = parse_json_or_throw<DataError>(text, path, {.max_depth = kMaxDepth});
  if (!document.is_array()) throw DataError(path + ": expected a JSON list of databases");
  return document;
}

/// One entry; what is wrong with it is thrown as a DataError that `place_` begins.
class Entry {
 public:
  Entry(const json& value, std::string place) : value_(value), place_(std::move(place)) {
    if (!value_.is_object()) fail("expected an object");
  }

  SpiderDatabase read() {
    SpiderDatabase database;
    database.id = text(field("db_id"), "db_id");
    check_id(database.id);
    place_ += " (" + database.id + ")";
    for (const json& name : list("table_names_original")) database.tables.push_back(text(name, "table_names_original"));
    read_columns(database);
    for (const json& key : list("primary_keys")) {
      // Later releases write a key of several columns as a list.
      for (const json& column : key.is_array() ? key : json::array({key}))
        database.primary_keys.push_back(column_index(column, database, "primary_keys"));
    }
    for (const json& key : list("foreign_keys")) {
      if (!key.is_array() || key.size() != 2) fail("foreign_keys: expected pairs of columns, got " + key.dump());
      database.foreign_keys.emplace_back(column_index(key[0], database, "foreign_keys"),
                                         column_index(key[1], database, "foreign_keys"));
    }
    return database;
  }

 private:
  [[noreturn]] void fail(const std::string& reason) const { throw DataError(place_ + ": " + to_valid_utf8(reason)); }

  const json& field(const char* key) const {
    const auto found = value_.find(key);
    if (found == value_.end()) fail(str("no '", key, "'"));
    return *found;
  }
  const json& list(const char* key) const {
    const json& value = field(key);
    if (!value.is_array()) fail(str(key, ": expected a list, got ", value.type_name()));
    return value;
  }
  std::string text(const json& value, const char* key) const {
    if (!value.is_string()) fail(str(key, ": expected a text, got ", value.type_name()));
    return value.get<std::string>();
  }
  // Numbers beyond int64_t would wrap round.
  static int64_t integer(const json& value) {
    constexpr int64_t kLargest = std::numeric_limits<int64_t>::max();
    return value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{kLargest} ? kLargest : value.get<int64_t>();
  }
  // The id is the name of a folder and of a file below `database/`.
  void check_id(const std::string& id) const {
    const bool is_name = !id.empty() && id != "." && id != ".." && id.find('/') == std::string::npos &&
                         id.find('\0') == std::string::npos;
    if (!is_name) fail("db_id: not the name of a folder");
  }

  void read_columns(SpiderDatabase& database) const {
    const json& names = list("column_names_original");
    const json& types = list("column_types");
    if (types.size() != names.size())
      fail(str("column_types: ", types.size(), " types for ", names.size(), " columns"));
    const auto n_tables = static_cast<int64_t>(database.tables.size());
    for (size_t i = 0; i < names.size(); ++i) {
      const json& pair = names[i];
      if (!pair.is_array() || pair.size() != 2 || !pair[0].is_number_integer() || !pair[1].is_string())
        fail(str("column_names_original: column ", i, ": expected [table, name], got ", pair.dump()));
      const int64_t table = integer(pair[0]);
      if (table < -1 || table >= n_tables)
        fail(str("column_names_original: column ", i, ": table ", pair[0].dump(), " of ", n_tables));
      database.columns.push_back({table, pair[1].get<std::string>(), text(types[i], "column_types")});
    }
  }

  size_t column_index(const json& value, const SpiderDatabase& database, const char* key) const {
    const auto n = static_cast<int64_t>(database.columns.size());
    if (!value.is_number_integer()) fail(str(key, ": expected the index of a column, got ", value.dump()));
    const int64_t index = integer(value);
    if (index < 0 || index >= n) fail(str(key, ": column ", value.dump(), " of ", n));
    if (database.columns[static_cast<size_t>(index)].table < 0) fail(str(key, ": column ", index, " is of no table"));
    return static_cast<size_t>(index);
  }

  const json& value_;
  std::string place_;
};

}  // namespace

SpiderDatabases read_spider_tables(const std::filesystem::path& path) {
  const json document = parse(path.string());
  SpiderDatabases databases;
  for (size_t i = 0; i < document.size(); ++i) {
    const std::string place = str(path.string(), ": database ", i + 1);
    SpiderDatabase database = Entry(document[i], place).read();
    const std::string id = database.id;
    if (!databases.emplace(id, std::move(database)).second) throw DataError(place + ": a second '" + id + "'");
  }
  return databases;
}

}  // namespace mpeft::metrics
