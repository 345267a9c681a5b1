#include "metrics/spider/partial_match.h"

#include <algorithm>
#include <set>

#include "metrics/spider/conditions.h"

namespace mpeft::metrics::spider {
namespace {

ClauseScore score(size_t n_equal, size_t label_total, size_t pred_total) {
  return {label_total == pred_total && n_equal == pred_total, static_cast<int64_t>(label_total),
          static_cast<int64_t>(pred_total)};
}

// How many of the predicted parts the gold query has, each of its own used once.
template <typename T>
ClauseScore count_equal(const std::vector<T>& predicted, std::vector<T> gold) {
  const size_t label_total = gold.size();
  size_t n_equal = 0;
  for (const T& part : predicted) {
    const auto found = std::find(gold.begin(), gold.end(), part);
    if (found == gold.end()) continue;
    gold.erase(found);
    ++n_equal;
  }
  return score(n_equal, label_total, predicted.size());
}

template <typename Part, typename List>
auto parts_of(const List& list, Part part) {
  std::vector<std::decay_t<decltype(part(list.front()))>> parts;
  for (const auto& item : list) parts.push_back(part(item));
  return parts;
}

std::vector<ValueUnit> selected_values(const Query& query) {
  return parts_of(query.select, [](const SelectItem& item) { return item.value; });
}

std::vector<Condition> where_conditions(const Query& query) {
  return parts_of(conditions_of({&query.where}), [](const Condition* condition) { return *condition; });
}

std::vector<ValueUnit> where_operands(const Query& query) {
  return parts_of(conditions_of({&query.where}), [](const Condition* condition) { return condition->operand; });
}

std::vector<std::string> group_columns(const Query& query) {
  return parts_of(query.group_by, [](const ColumnUnit& unit) { return unit.column; });
}

// "age__" of "__singer.age__"; a name with more dots ends at the second.
std::vector<std::string> group_names(const Query& query) {
  return parts_of(query.group_by, [](const ColumnUnit& unit) {
    const size_t dot = unit.column.find('.');
    if (dot == std::string::npos) return unit.column;
    return unit.column.substr(dot + 1, unit.column.find('.', dot + 1) - dot - 1);
  });
}

ClauseScore compare_group(const Query& prediction, const Query& gold) {
  const bool equal = !prediction.group_by.empty() && !gold.group_by.empty() &&
                     group_columns(prediction) == group_columns(gold) && prediction.having == gold.having;
  return score(equal ? 1 : 0, gold.group_by.empty() ? 0 : 1, prediction.group_by.empty() ? 0 : 1);
}

ClauseScore compare_order(const Query& prediction, const Query& gold) {
  const bool equal = gold.order_by && prediction.order_by == gold.order_by && prediction.limit == gold.limit;
  return score(equal ? 1 : 0, gold.order_by ? 1 : 0, prediction.order_by ? 1 : 0);
}

// Distinct parts at the places of connectives, which hold conditions where a query leaves connectives out.
Conditions distinct_connectives(const Query& query) {
  Conditions distinct;
  for (size_t i = 1; i < query.where.size(); i += 2) {
    if (std::find(distinct.begin(), distinct.end(), query.where[i]) == distinct.end())
      distinct.push_back(query.where[i]);
  }
  return distinct;
}

ClauseScore compare_connectives(const Query& prediction, const Query& gold) {
  const Conditions predicted = distinct_connectives(prediction);
  const Conditions label = distinct_connectives(gold);
  const auto is_predicted = [&](const ConditionItem& item) {
    return std::find(predicted.begin(), predicted.end(), item) != predicted.end();
  };
  if (predicted.size() == label.size() && std::all_of(label.begin(), label.end(), is_predicted)) return score(1, 1, 1);
  return score(0, predicted.size(), label.size());  // the totals change places, as in the script
}

ClauseScore compare_other_queries(const Query& prediction, const Query& gold) {
  size_t label_total = 0;
  size_t pred_total = 0;
  size_t n_equal = 0;
  for (const auto part : {&Query::intersect, &Query::except, &Query::union_with}) {
    const QueryPtr& predicted = (prediction.*part).query;
    const QueryPtr& label = (gold.*part).query;
    label_total += label ? 1 : 0;
    pred_total += predicted ? 1 : 0;
    if (predicted && label && is_exact_match(*predicted, *label, compare_clauses(*predicted, *label))) ++n_equal;
  }
  return score(n_equal, label_total, pred_total);
}

std::set<std::string_view> keywords(const Query& query) {
  std::set<std::string_view> words;
  const auto add_if = [&](bool is_there, std::string_view word) {
    if (is_there) words.insert(word);
  };
  add_if(!query.where.empty(), "where");
  add_if(!query.group_by.empty(), "group");
  add_if(!query.having.empty(), "having");
  if (query.order_by) {
    words.insert("order");
    words.insert(query.order_by->descending ? "desc" : "asc");
  }
  add_if(query.limit, "limit");
  add_if(query.except.query != nullptr, "except");
  add_if(query.union_with.query != nullptr, "union");
  add_if(query.intersect.query != nullptr, "intersect");
  const auto lists = {&query.join_conditions, &query.where, &query.having};
  add_if(count_or(lists) > 0, "or");
  for (const Condition* condition : conditions_of(lists)) {
    add_if(condition->negated, "not");
    add_if(condition->op == kIn, "in");
    add_if(condition->op == kLike, "like");
  }
  return words;
}

ClauseScore compare_keywords(const Query& prediction, const Query& gold) {
  const auto predicted = keywords(prediction);
  const auto label = keywords(gold);
  size_t n_equal = 0;
  for (const auto word : predicted) n_equal += label.count(word);
  return score(n_equal, label.size(), predicted.size());
}

// Sorted as the script sorts them: queries before names. (It cannot sort two different queries; they keep their order.)
std::vector<TableUnit> sorted_tables(const Query& query) {
  std::vector<TableUnit> tables = query.tables;
  std::stable_sort(tables.begin(), tables.end(), [](const TableUnit& a, const TableUnit& b) {
    if (a.index() != b.index()) return a.index() < b.index();
    return a.index() == 1 && std::get<std::string>(a) < std::get<std::string>(b);
  });
  return tables;
}

}  // namespace

ClauseScores compare_clauses(const Query& prediction, const Query& gold) {
  return {count_equal(prediction.select, gold.select),
          count_equal(selected_values(prediction), selected_values(gold)),
          count_equal(where_conditions(prediction), where_conditions(gold)),
          count_equal(where_operands(prediction), where_operands(gold)),
          count_equal(group_names(prediction), group_names(gold)),
          compare_group(prediction, gold),
          compare_order(prediction, gold),
          compare_connectives(prediction, gold),
          compare_other_queries(prediction, gold),
          compare_keywords(prediction, gold)};
}

bool is_exact_match(const Query& prediction, const Query& gold, const ClauseScores& clauses) {
  const bool clauses_equal =
      std::all_of(clauses.begin(), clauses.end(), [](const ClauseScore& clause) { return clause.equal; });
  return clauses_equal && (gold.tables.empty() || sorted_tables(prediction) == sorted_tables(gold));
}

}  // namespace mpeft::metrics::spider
