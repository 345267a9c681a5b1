#pragma once

#include "metrics/spider/database_file.h"
#include "metrics/spider/query.h"

namespace mpeft::metrics::spider {

/// The script's comparison of two results: the columns by what the queries select, row for row. Columns that differ in
/// nothing but the aggregate are one to it, the last of them. Both queries are made comparable. A prediction that
/// failed is never right, nor is one that selects fewer columns than it was parsed to; `gold` must not have failed.
bool same_result(const QueryResult& prediction, const Query& predicted_query, const QueryResult& gold,
                 const Query& gold_query);

}  // namespace mpeft::metrics::spider
