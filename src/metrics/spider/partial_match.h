#pragma once

#include <array>
#include <string_view>

#include "metrics/spider/query.h"

namespace mpeft::metrics::spider {

/// The clauses that the script scores by themselves, in its order.
inline constexpr std::array<std::string_view, 10> kClauses = {
    "select", "select(no AGG)", "where",  "where(no OP)", "group(no Having)",
    "group",  "order",          "and/or", "IUEN",         "keywords"};

/// One clause of one pair. The script's accuracy, recall and F1 are all 1 where `equal`, and 0 otherwise.
struct ClauseScore {
  bool equal = false;
  int64_t label_total = 0;  ///< parts in the gold query
  int64_t pred_total = 0;   ///< parts in the prediction
};

/// Scores in the order of kClauses.
using ClauseScores = std::array<ClauseScore, kClauses.size()>;

/// Compares two queries made comparable, clause by clause. A prediction that cannot be parsed is an empty Query.
ClauseScores compare_clauses(const Query& prediction, const Query& gold);

/// Exact set match: all clauses are equal, and the tables.
bool is_exact_match(const Query& prediction, const Query& gold, const ClauseScores& clauses);

}  // namespace mpeft::metrics::spider
