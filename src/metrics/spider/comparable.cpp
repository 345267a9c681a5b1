#include "metrics/spider/comparable.h"

#include <unordered_set>

namespace mpeft::metrics::spider {
namespace {

Query without_literals(const Query& query);

Value without_literals(const Value& value) {
  const auto* subquery = std::get_if<Subquery>(&value);
  if (subquery == nullptr) return std::monostate();
  return Subquery{std::make_shared<Query>(without_literals(*subquery->query))};
}

// Only where the script expects conditions, so one in a connective's place keeps its literal.
void drop_literals(Conditions& items) {
  for (size_t i = 0; i < items.size(); i += 2) {
    auto& condition = std::get<Condition>(items[i]);
    condition.first = without_literals(condition.first);
    condition.second = without_literals(condition.second);
  }
}

Query without_literals(const Query& query) {
  Query result = query;
  for (Conditions* items : {&result.join_conditions, &result.having, &result.where}) drop_literals(*items);
  for (Subquery* other : {&result.intersect, &result.except, &result.union_with}) {
    if (other->query) other->query = std::make_shared<Query>(without_literals(*other->query));
  }
  return result;
}

/// Puts the first column of each foreign key in the place of the others.
class ColumnMapper {
 public:
  ColumnMapper(const Query& query, const ForeignKeyMap& foreign_keys) : foreign_keys_(foreign_keys) {
    for (const TableUnit& table : query.tables) {
      if (const auto* id = std::get_if<std::string>(&table)) prefixes_.insert(id->substr(0, id->size() - 2));
    }
  }

  void map(Query& query) const {
    for (SelectItem& item : query.select) map(item.value);
    query.distinct.reset();
    for (Conditions* items : {&query.join_conditions, &query.where, &query.having}) {
      for (size_t i = 0; i < items->size(); i += 2) map(std::get<Condition>((*items)[i]).operand);
    }
    for (ColumnUnit& column : query.group_by) map(column);
    if (query.order_by) {
      for (ValueUnit& value : query.order_by->values) map(value);
    }
    for (Subquery* other : {&query.intersect, &query.except, &query.union_with}) {
      if (!other->query) continue;
      Query mapped = *other->query;
      map(mapped);
      other->query = std::make_shared<Query>(std::move(mapped));
    }
  }

 private:
  void map(ValueUnit& value) const {
    map(value.left);
    if (value.right) map(*value.right);
  }
  void map(ColumnUnit& unit) const {
    unit.distinct.reset();
    const auto mapped = foreign_keys_.find(unit.column);
    if (mapped != foreign_keys_.end() && prefixes_.count(unit.column.substr(0, unit.column.find('.'))) > 0)
      unit.column = mapped->second;
  }

  const ForeignKeyMap& foreign_keys_;
  std::unordered_set<std::string> prefixes_;  // "__table" of the tables in the outermost FROM
};

}  // namespace

Query comparable(const Query& query, const ForeignKeyMap& foreign_keys) {
  Query result = without_literals(query);
  ColumnMapper(query, foreign_keys).map(result);
  return result;
}

}  // namespace mpeft::metrics::spider
