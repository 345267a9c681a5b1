#include "metrics/spider/schema.h"

#include <algorithm>
#include <set>

#include "mpeft/core/check.h"
#include "mpeft/core/strings.h"

#include "metrics/unicode.h"

namespace mpeft::metrics::spider {
namespace {

std::string lower(const std::string& name) { return encode_utf8(to_lower(decode_utf8(name))); }

std::string id(const std::string& key) { return "__" + key + "__"; }

std::string column_id(const SpiderDatabase& database, size_t column) {
  const auto& [table, name, type] = database.columns[column];
  return table < 0 ? "__all__" : id(lower(database.tables[static_cast<size_t>(table)]) + "." + lower(name));
}

}  // namespace

Schema::Schema(std::vector<Table> tables) : tables_(std::move(tables)) {
  for (Table& table : tables_) {
    table.name = lower(table.name);
    for (std::string& column : table.columns) column = lower(column);
  }
  ids_["*"] = "__all__";
  for (const Table& table : tables_) {
    columns_[table.name] = &table.columns;
    for (const std::string& column : table.columns) ids_[table.name + "." + column] = id(table.name + "." + column);
  }
  for (const Table& table : tables_) ids_[table.name] = id(table.name);
}

const std::string* Schema::id_of(const std::string& key) const {
  const auto found = ids_.find(key);
  return found == ids_.end() ? nullptr : &found->second;
}

bool Schema::has_column(const std::string& table, const std::string& column) const {
  const auto found = columns_.find(table);
  return found != columns_.end() &&
         std::find(found->second->begin(), found->second->end(), column) != found->second->end();
}

Schema schema_of(const SpiderDatabase& database) {
  std::vector<Schema::Table> tables;
  for (const std::string& name : database.tables) tables.push_back({name, {}});
  for (const auto& column : database.columns) {
    if (column.table >= 0) tables[static_cast<size_t>(column.table)].columns.push_back(column.name);
  }
  return Schema(std::move(tables));
}

ForeignKeyMap foreign_key_map(const SpiderDatabase& database) {
  // The script adds a key to the first set that has one of its ends and never joins two sets.
  std::vector<std::set<size_t>> groups;
  for (const auto& [from, to] : database.foreign_keys) {
    auto group = std::find_if(groups.begin(), groups.end(),
                              [&](const auto& keys) { return keys.count(from) > 0 || keys.count(to) > 0; });
    if (group == groups.end()) group = groups.insert(groups.end(), std::set<size_t>());
    group->insert({from, to});
  }
  ForeignKeyMap map;
  for (const auto& group : groups) {
    for (const size_t column : group) map[column_id(database, column)] = column_id(database, *group.begin());
  }
  return map;
}

}  // namespace mpeft::metrics::spider
