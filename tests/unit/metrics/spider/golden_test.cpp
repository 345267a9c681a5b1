// Agreement with the official script on 3,000 scored pairs, where MPEFT_GOLDEN_ROOT says where they are, and their
// schemas and databases (MPEFT_DATA_ROOT).

#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>

#include "metrics/spider/scoring.h"
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
    if (!std::filesystem::exists(data_ / "database")) GTEST_SKIP() << "no spider/database below MPEFT_DATA_ROOT";
  }
  std::filesystem::path cases_, data_;
};

// Each pair has what the script said of it.
PairScores check_cases(const std::vector<nlohmann::json>& lines, const std::filesystem::path& data) {
  std::vector<Record> records;
  for (const auto& line : lines) records.push_back({line.at("pred"), {line.at("gold")}, line.at("db_id")});
  const auto scores = Scorer(data, /*execute=*/true).score(records);
  for (size_t i = 0; i < lines.size(); ++i) {
    const auto& line = lines[i];
    const PairScore& score = scores.pairs[i];
    SCOPED_TRACE(testing::Message() << "line " << i + 1 << ": " << line.dump());
    EXPECT_EQ(score.parsed, line.at("parsed").get<bool>());
    EXPECT_EQ(kHardnessNames[static_cast<size_t>(score.hardness.value())], line.at("hardness").get<std::string>());
    EXPECT_EQ(score.exact, line.at("exact").get<int>() == 1);
    EXPECT_EQ(score.executes, line.at("exec").get<bool>());
    for (size_t k = 0; k < kClauses.size(); ++k) {
      const std::vector<int64_t> expected = line.at("partial").at(std::string(kClauses[k]));
      const int64_t equal = score.clauses[k].equal ? 1 : 0;
      EXPECT_THAT(expected,
                  testing::ElementsAre(equal, equal, equal, score.clauses[k].label_total, score.clauses[k].pred_total))
          << kClauses[k];
    }
  }
  return scores;
}

TEST_F(SpiderGoldenTest, EveryScoreOfEveryCaseAgrees) {
  const auto lines = read_json_lines(cases_);
  ASSERT_EQ(lines.size(), 3000U);
  EXPECT_THAT(check_cases(lines, data_).notes,
              testing::ElementsAre(testing::HasSubstr("1 gold query cannot be parsed or run")))
      << "one of Spider's own queries is no SQL that SQLite takes";
}

// More of them, in the same form, in the file that MPEFT_SPIDER_CASES names.
TEST_F(SpiderGoldenTest, FurtherCasesAgree) {
  const char* further = std::getenv("MPEFT_SPIDER_CASES");
  if (further == nullptr) GTEST_SKIP() << "MPEFT_SPIDER_CASES is not set";
  check_cases(read_json_lines(further), data_);
}

// The official totals of the gold queries against themselves: everything is right, and the levels are those published.
TEST_F(SpiderGoldenTest, TheDevelopmentSetScoresInTwoSeconds) {
  std::vector<Record> records;
  const auto dev = nlohmann::json::parse(std::ifstream(data_ / "dev.json"));
  for (const auto& row : dev) records.push_back({row.at("query"), {row.at("query")}, row.at("db_id")});
  ASSERT_EQ(records.size(), 1034U);
  const std::clock_t start = std::clock();  // processor time: the machine may have other work
  const auto scores = Scorer(data_, /*execute=*/true).score(records);
  const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  RecordProperty("seconds", std::to_string(seconds));
  std::array<int, kHardnessNames.size()> n_of_level{};
  for (const PairScore& score : scores.pairs) {
    ++n_of_level[static_cast<size_t>(score.hardness.value())];
    EXPECT_TRUE(score.exact && score.executes);
  }
  EXPECT_THAT(n_of_level, testing::ElementsAre(248, 446, 174, 166));
  EXPECT_LT(seconds, 2.0);
  const Scores totals = make_metric("spider", data_)->score(records);
  for (const auto& [name, value] : totals) EXPECT_EQ(value, 1.0) << name;
  EXPECT_EQ(totals.size(), 2 * 5 + 3 * kClauses.size());
}

}  // namespace
}  // namespace mpeft::metrics::spider
