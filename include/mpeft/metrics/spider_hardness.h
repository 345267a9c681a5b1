#pragma once

#include <string>
#include <vector>

#include "mpeft/metrics/spider_database.h"

namespace mpeft::metrics {

/// "easy", "medium", "hard", "extra".
std::vector<std::string> spider_hardness_names();

/// The level that the official script gives a query over this database, or "" when it cannot parse the query.
std::string spider_hardness(const SpiderDatabase& database, const std::string& query);

}  // namespace mpeft::metrics
