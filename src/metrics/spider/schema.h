#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "mpeft/metrics/spider_database.h"

namespace mpeft::metrics::spider {

/// The tables and columns that queries may name, all in lower case, and the ids that the script gives them:
/// "__table__", "__table.column__", and "__all__" for `*`.
class Schema {
 public:
  struct Table {
    std::string name;
    std::vector<std::string> columns;
  };

  /// Names are put in lower case here.
  explicit Schema(std::vector<Table> tables);

  /// The id of "*", "table" or "table.column"; nullptr for what is not there.
  const std::string* id_of(const std::string& key) const;
  bool has_table(const std::string& name) const { return columns_.count(name) > 0; }
  /// False for an unknown table too.
  bool has_column(const std::string& table, const std::string& column) const;
  const std::vector<Table>& tables() const { return tables_; }

 private:
  std::vector<Table> tables_;
  std::unordered_map<std::string, const std::vector<std::string>*> columns_;
  std::unordered_map<std::string, std::string> ids_;
};

/// The schema as tables.json has it (its `_original` names), for databases of which there is no file.
Schema schema_of(const SpiderDatabase& database);

/// For each column id that a foreign key ties to others, the first of them in the order of tables.json: two queries
/// that join over either end of a key are the same.
using ForeignKeyMap = std::unordered_map<std::string, std::string>;
ForeignKeyMap foreign_key_map(const SpiderDatabase& database);

}  // namespace mpeft::metrics::spider
