#pragma once

#include <string_view>

#include "metrics/spider/query.h"
#include "metrics/spider/schema.h"

namespace mpeft::metrics::spider {

/// Queries in queries go no deeper; the official script ends at some 200 to 900 (Python's recursion limit).
inline constexpr int kMaxDepth = 150;

/// Parses as the official script (process_sql.py) does: the subset of SQL that Spider uses, read leniently. What
/// follows a complete query is ignored, LIMIT takes any one word, a connective between conditions may be missing.
/// Throws SqlError for what the script refuses, and for a query that it parses but then cannot evaluate (places of
/// connectives that hold a condition and the other way round).
QueryPtr parse_sql(std::string_view text, const Schema& schema);

}  // namespace mpeft::metrics::spider
