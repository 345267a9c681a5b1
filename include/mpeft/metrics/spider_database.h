#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace mpeft::metrics {

/// One entry of Spider's tables.json, with the names as the database has them (`…_original`).
struct SpiderDatabase {
  struct Column {
    int64_t table = -1;  ///< index into tables; -1: `*`, of no table
    std::string name;
    std::string type;  ///< "text", "number", "time", "boolean", "others"
  };
  std::string id;
  std::vector<std::string> tables;
  std::vector<Column> columns;
  std::vector<size_t> primary_keys;                     ///< indices into columns, none of them `*`
  std::vector<std::pair<size_t, size_t>> foreign_keys;  ///< (column, column it refers to), none of them `*`
};

/// By `db_id`.
using SpiderDatabases = std::map<std::string, SpiderDatabase>;

/// Reads tables.json. Every index is checked: throws DataError "path: database N (id): reason" for an entry that is not
/// as it should be, and as read_file for a file that cannot be read or is larger than 256 MiB.
SpiderDatabases read_spider_tables(const std::filesystem::path& path);

}  // namespace mpeft::metrics
