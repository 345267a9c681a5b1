#pragma once

#include <string>

#include "mpeft/metrics/spider_database.h"

namespace mpeft::data {

/// The schema as the model reads it, in lower case: per table
/// "table: column type ,  column type ,  foreign: column from table , … ,  primary: column , …", tables joined by " |
/// ". A foreign key is told by the column and the table that it refers to.
std::string spider_schema_text(const metrics::SpiderDatabase& database);

/// The query as the model is to write it: without white space at either end and in lower case, quoted texts included
/// unless `lowercase` is false.
std::string spider_label(const std::string& query, bool lowercase);

}  // namespace mpeft::data
