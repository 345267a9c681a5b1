#include "metrics/spider/execution.h"

#include <algorithm>

namespace mpeft::metrics::spider {
namespace {

struct KeyedColumn {
  ValueUnit key;
  size_t index;
};

// What is selected, each once, with the last column that has it.
std::vector<KeyedColumn> keyed_columns(const Query& query) {
  std::vector<KeyedColumn> columns;
  for (size_t i = 0; i < query.select.size(); ++i) {
    ValueUnit key = query.select[i].value;
    if (!key.right) key.op = 0;
    const auto same =
        std::find_if(columns.begin(), columns.end(), [&](const auto& column) { return column.key == key; });
    if (same == columns.end()) {
      columns.push_back({std::move(key), i});
    } else {
      same->index = i;
    }
  }
  return columns;
}

// nullptr where the result has no such column, which is no fault when it has no rows.
const std::vector<Cell>* column_of(const QueryResult& result, size_t index) {
  static const std::vector<Cell> empty;
  if (index < result.columns.size()) return &result.columns[index];
  return result.n_rows == 0 ? &empty : nullptr;
}

}  // namespace

bool same_result(const QueryResult& prediction, const Query& predicted_query, const QueryResult& gold,
                 const Query& gold_query) {
  if (!prediction.failure.empty()) return false;
  const auto predicted = keyed_columns(predicted_query);
  const auto label = keyed_columns(gold_query);
  if (predicted.size() != label.size()) return false;
  for (const KeyedColumn& column : label) {
    const auto same =
        std::find_if(predicted.begin(), predicted.end(), [&](const auto& other) { return other.key == column.key; });
    if (same == predicted.end()) return false;
    const auto* left = column_of(prediction, same->index);
    const auto* right = column_of(gold, column.index);
    if (left == nullptr || right == nullptr || *left != *right) return false;
  }
  return true;
}

}  // namespace mpeft::metrics::spider
