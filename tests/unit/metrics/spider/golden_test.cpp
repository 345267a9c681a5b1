// Agreement with the official script on 3,000 scored pairs, where MPEFT_GOLDEN_ROOT says where they are, and their
// schemas and databases (MPEFT_DATA_ROOT).

#include <cstdlib>
#include <filesystem>
#include <optional>

#include <gmock/gmock.h>

#include "metrics/spider/comparable.h"
#include "metrics/spider/hardness.h"
#include "metrics/spider/parser.h"
#include "metrics/spider/partial_match.h"
#include "metrics/spider/sql_error.h"
#include "unit/metrics/golden_cases.h"

namespace mpeft::metrics::spider {
namespace {

std::filesystem::path folder_of(const char* variable, const std::string& below) {
  const char* root = std::getenv(variable);
  return root == nullptr ? std::filesystem::path() : std::filesystem::path(root) / below;
}

class SpiderGoldenTest : public testing::Test {
 protected:
  void SetUp() override {
    cases_ = folder_of("MPEFT_GOLDEN_ROOT", "spider/metric_cases.jsonl");
    data_ = folder_of("MPEFT_DATA_ROOT", "spider");
    if (!std::filesystem::exists(cases_)) GTEST_SKIP() << "no spider/metric_cases.jsonl below MPEFT_GOLDEN_ROOT";
    if (!std::filesystem::exists(data_ / "tables.json")) GTEST_SKIP() << "no spider/tables.json below MPEFT_DATA_ROOT";
  }
  std::filesystem::path cases_, data_;
};

TEST_F(SpiderGoldenTest, ExactPartialAndHardnessAgreeOnEveryCase) {
  const SpiderDatabases databases = read_spider_tables(data_ / "tables.json");
  int n_cases = 0;
  for (const auto& line : read_json_lines(cases_)) {
    SCOPED_TRACE(line.dump());
    const SpiderDatabase& database = databases.at(line.at("db_id").get<std::string>());
    const Schema schema = schema_of(database);
    const ForeignKeyMap keys = foreign_key_map(database);
    const QueryPtr gold = parse_sql(line.at("gold").get<std::string>(), schema);
    Query prediction;
    bool parsed = true;
    try {
      prediction = *parse_sql(line.at("pred").get<std::string>(), schema);
    } catch (const SqlError&) {
      parsed = false;
    }
    EXPECT_EQ(parsed, line.at("parsed").get<bool>());
    EXPECT_EQ(kHardnessNames[static_cast<size_t>(hardness_of(*gold))], line.at("hardness").get<std::string>());
    const Query left = comparable(prediction, keys);
    const Query right = comparable(*gold, keys);
    const ClauseScores clauses = compare_clauses(left, right);
    EXPECT_EQ(is_exact_match(left, right, clauses), line.at("exact").get<int>() == 1);
    for (size_t i = 0; i < kClauses.size(); ++i) {
      const std::vector<int64_t> expected = line.at("partial").at(std::string(kClauses[i]));
      const int64_t equal = clauses[i].equal ? 1 : 0;
      EXPECT_THAT(expected, testing::ElementsAre(equal, equal, equal, clauses[i].label_total, clauses[i].pred_total))
          << kClauses[i];
    }
    ++n_cases;
  }
  EXPECT_EQ(n_cases, 3000);
}

}  // namespace
}  // namespace mpeft::metrics::spider
