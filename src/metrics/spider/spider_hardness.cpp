#include "mpeft/metrics/spider_hardness.h"

#include "metrics/spider/hardness.h"
#include "metrics/spider/parser.h"
#include "metrics/spider/sql_error.h"

namespace mpeft::metrics {

std::vector<std::string> spider_hardness_names() {
  return {spider::kHardnessNames.begin(), spider::kHardnessNames.end()};
}

std::string spider_hardness(const SpiderDatabase& database, const std::string& query) {
  try {
    const auto level = spider::hardness_of(*spider::parse_sql(query, spider::schema_of(database)));
    return std::string(spider::kHardnessNames[static_cast<size_t>(level)]);
  } catch (const spider::SqlError&) {
    return "";
  }
}

}  // namespace mpeft::metrics
