#include "data/spider_text.h"

#include "mpeft/core/strings.h"

namespace mpeft::data {

std::string spider_schema_text(const metrics::SpiderDatabase& database) {
  std::vector<std::string> tables;
  for (size_t i = 0; i < database.tables.size(); ++i) {
    const auto is_here = [&](size_t column) { return database.columns[column].table == static_cast<int64_t>(i); };
    std::vector<std::string> parts, foreign, primary;
    for (size_t column = 0; column < database.columns.size(); ++column) {
      if (is_here(column)) parts.push_back(database.columns[column].name + " " + database.columns[column].type);
    }
    for (const auto& [from, to] : database.foreign_keys) {
      const auto& target = database.columns[to];
      if (is_here(from)) foreign.push_back(target.name + " from " + database.tables[static_cast<size_t>(target.table)]);
    }
    for (const size_t column : database.primary_keys) {
      if (is_here(column)) primary.push_back(database.columns[column].name);
    }
    parts.push_back("foreign: " + join(foreign, " , "));
    parts.push_back("primary: " + join(primary, " , "));
    tables.push_back(database.tables[i] + ": " + join(parts, " ,  "));
  }
  return to_lower(join(tables, " | "));
}

std::string spider_label(const std::string& query, bool lowercase) {
  const std::string_view text = trim(query);
  if (lowercase) return to_lower(text);
  std::string label;
  char quote = '\0';
  for (const char c : text) {
    if (quote == '\0') {
      label += to_lower(std::string_view(&c, 1));
      if (c == '"' || c == '\'') quote = c;
    } else {
      label += c;
      if (c == quote) quote = '\0';
    }
  }
  return label;
}

}  // namespace mpeft::data
