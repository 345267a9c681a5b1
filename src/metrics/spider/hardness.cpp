#include "metrics/spider/hardness.h"

#include <algorithm>

#include "metrics/spider/conditions.h"

namespace mpeft::metrics::spider {
namespace {

int count_clauses(const Query& query) {
  int count = 0;
  count += query.where.empty() ? 0 : 1;
  count += query.group_by.empty() ? 0 : 1;
  count += query.order_by ? 1 : 0;
  count += query.limit ? 1 : 0;
  count += std::max(0, static_cast<int>(query.tables.size()) - 1);  // joins
  const auto lists = {&query.join_conditions, &query.where, &query.having};
  count += count_or(lists);
  for (const Condition* condition : conditions_of(lists)) count += condition->op == kLike ? 1 : 0;
  return count;
}

int count_nested(const Query& query) {
  int count = 0;
  for (const Condition* condition : conditions_of({&query.join_conditions, &query.where, &query.having})) {
    for (const Value* value : {&condition->first, &condition->second})
      count += std::holds_alternative<Subquery>(*value) ? 1 : 0;
  }
  for (const Subquery* other : {&query.intersect, &query.except, &query.union_with}) count += other->query ? 1 : 0;
  return count;
}

// The script asks each of these whether its first part is not 0: the aggregate of a column, but the NOT of a condition,
// and anything at all of a connective.
int count_aggregates(const Query& query) {
  int count = 0;
  for (const SelectItem& item : query.select) count += item.aggregate != 0 ? 1 : 0;
  for (const Condition* condition : conditions_of({&query.where})) count += condition->negated ? 1 : 0;
  for (const ColumnUnit& column : query.group_by) count += column.aggregate != 0 ? 1 : 0;
  if (query.order_by) {
    for (const ValueUnit& value : query.order_by->values) {
      count += value.left.aggregate != 0 ? 1 : 0;
      count += value.right && value.right->aggregate != 0 ? 1 : 0;
    }
  }
  for (const ConditionItem& item : query.having) {
    const auto* condition = std::get_if<Condition>(&item);
    count += condition == nullptr || condition->negated ? 1 : 0;
  }
  return count;
}

int count_others(const Query& query) {
  return (count_aggregates(query) > 1 ? 1 : 0) + (query.select.size() > 1 ? 1 : 0) + (query.where.size() > 1 ? 1 : 0) +
         (query.group_by.size() > 1 ? 1 : 0);
}

}  // namespace

Hardness hardness_of(const Query& query) {
  const int clauses = count_clauses(query);
  const int nested = count_nested(query);
  const int others = count_others(query);
  if (nested == 0) {
    if (clauses <= 1 && others == 0) return Hardness::kEasy;
    if ((clauses <= 1 && others <= 2) || (clauses <= 2 && others < 2)) return Hardness::kMedium;
    if ((clauses <= 2 && others > 2) || (clauses == 3 && others <= 2)) return Hardness::kHard;
  }
  if (nested <= 1 && clauses <= 1 && others == 0) return Hardness::kHard;
  return Hardness::kExtra;
}

}  // namespace mpeft::metrics::spider
