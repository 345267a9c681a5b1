#pragma once

#include "metrics/spider/query.h"
#include "metrics/spider/schema.h"

namespace mpeft::metrics::spider {

/// The query as the script compares it (`rebuild_sql_val`, then `rebuild_sql_col`): conditions lose their literals,
/// DISTINCT is not looked at, and a column of one of the tables in FROM that a foreign key ties to another becomes the
/// first of them. Queries in FROM stay as they are, queries in conditions keep columns and DISTINCT.
Query comparable(const Query& query, const ForeignKeyMap& foreign_keys);

}  // namespace mpeft::metrics::spider
