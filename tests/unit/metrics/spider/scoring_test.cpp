#include "metrics/spider/scoring.h"

#include <gmock/gmock.h>

#include "mpeft/core/error.h"

#include "unit/metrics/spider/small_folder.h"

namespace mpeft::metrics::spider {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::ThrowsMessage;

class SpiderScoringTest : public testing::Test {
 protected:
  PairScore score(const std::string& prediction, const std::string& gold) const {
    return Scorer(folder_.path(), true).score({{prediction, {gold}, "bands"}}).pairs.at(0);
  }
  SmallFolder folder_;
};

TEST_F(SpiderScoringTest, ExecutionComparesRowsInOrder) {
  const std::string gold = "SELECT Name FROM Band WHERE Members = 4";
  EXPECT_TRUE(score("select name from band where members >= 4 and members < 5", gold).executes);
  EXPECT_FALSE(score("select name from band where members = 4 order by name", gold).executes) << "another order";
  EXPECT_FALSE(score("select name from band where members = 2", gold).executes);
  EXPECT_FALSE(score("select name , members from band where members = 4", gold).executes) << "another column";
  EXPECT_FALSE(
      score("select members from band where members = 77", "SELECT Name FROM Band WHERE Members = 77").executes)
      << "no rows, but of another column";
}

TEST_F(SpiderScoringTest, ExecutionComparesColumnsByWhatTheySelect) {
  EXPECT_TRUE(score("select members , name from band", "SELECT Name , Members FROM Band").executes);
  const std::string both = "SELECT max(Members) , min(Members) FROM Band";
  EXPECT_TRUE(score("select count(members) , min(members) from band", both).executes)
      << "two aggregates of one column are one to the script: the last";
  EXPECT_FALSE(score("select min(members) , max(members) from band", both).executes);
  EXPECT_TRUE(score("select * from band", "SELECT * FROM Band WHERE Band_ID > 0").executes);
  EXPECT_TRUE(score("select capacity from venue where venue_id = 1", "SELECT Capacity FROM venue WHERE Capacity = 200")
                  .executes);
}

TEST_F(SpiderScoringTest, EitherEndOfAKeyIsTheSameColumn) {
  const std::string join = " FROM Band AS T1 JOIN Concert AS T2 ON T1.Band_ID = T2.Band_ID";
  const PairScore both = score("SELECT T2.Band_ID" + join, "SELECT T1.Band_ID" + join);
  EXPECT_TRUE(both.exact);
  EXPECT_TRUE(both.executes);
}

TEST_F(SpiderScoringTest, SemicolonsEndTheParseButNotTheExecution) {
  const std::string gold = "SELECT Name FROM Band";
  const PairScore two = score("SELECT Name FROM Band; SELECT 1", gold);
  EXPECT_TRUE(two.exact);
  EXPECT_FALSE(two.executes);
  const PairScore comment = score("SELECT Name FROM Band ; -- end", gold);
  EXPECT_TRUE(comment.exact);
  EXPECT_TRUE(comment.executes);
}

TEST_F(SpiderScoringTest, WhatCannotBeParsedIsNeverRight) {
  const PairScore runs = score("SELECT \"Name\" FROM Band", "SELECT Name FROM Band");
  EXPECT_FALSE(runs.parsed) << "SQLite would run it; the script does not read quoted names";
  EXPECT_FALSE(runs.exact);
  EXPECT_FALSE(runs.executes);
  EXPECT_FALSE(score("", "SELECT Name FROM Band").executes);
  const PairScore missing_comma = score("SELECT Name Members FROM Band", "SELECT Name , Members FROM Band");
  EXPECT_TRUE(missing_comma.exact) << "two columns to the script";
  EXPECT_FALSE(missing_comma.executes) << "one column, named Members, to SQLite";
}

TEST_F(SpiderScoringTest, AnAbsentDatabaseAndAGoldQueryThatDoesNotRunAreTold) {
  const Scorer scorer(folder_.path(), true);
  const auto absent = scorer.score({{"select a from t", {"SELECT a FROM t"}, "absent"}});
  EXPECT_TRUE(absent.pairs[0].exact) << "by tables.json";
  EXPECT_FALSE(absent.pairs[0].executes);
  EXPECT_THAT(absent.notes,
              ElementsAre(testing::AllOf(HasSubstr("no file of 1 database(s) (absent)"), HasSubstr("1 record"))));
  const std::string gold = "SELECT Name FROM Band LIMIT 1 UNION SELECT Name FROM venue";
  const auto failing = scorer.score({{gold, {gold}, "bands"}});
  EXPECT_FALSE(failing.pairs[0].executes);
  EXPECT_THAT(failing.notes,
              ElementsAre(HasSubstr(
                  "1 gold query cannot be parsed or run; the prediction counts as wrong. First: record 1 (bands)")));
  const std::string unknown = "SELECT Nothing FROM Band";
  const auto unparsable = scorer.score({{unknown, {unknown}, "bands"}, {"select name from band", {unknown}, "bands"}});
  EXPECT_EQ(unparsable.pairs[1].hardness, std::nullopt);
  EXPECT_TRUE(unparsable.pairs[1].parsed);
  EXPECT_FALSE(unparsable.pairs[0].exact || unparsable.pairs[1].executes);
  EXPECT_THAT(unparsable.notes,
              ElementsAre(testing::AllOf(HasSubstr("2 gold queries"), HasSubstr("no column 'nothing'"))));
  EXPECT_THAT(make_metric("exact", folder_.path())->score({{unknown, {unknown}, "bands"}}),
              ElementsAre(testing::Pair("exact", 0.0)))
      << "it is of no level";
  EXPECT_THAT(Scorer(folder_.path(), false).score({{"select a from t", {"SELECT a FROM t"}, "absent"}}).notes,
              IsEmpty());
}

TEST_F(SpiderScoringTest, NamesTheRecordThatCannotBeScored) {
  const Scorer scorer(folder_.path(), true);
  const Record good = {"select name from band", {"SELECT Name FROM Band"}, "bands"};
  const auto expect = [&](const Record& bad, const std::string& reason) {
    EXPECT_THAT([&] { scorer.score({good, bad}); }, ThrowsMessage<DataError>(HasSubstr("record 2: " + reason)));
  };
  expect({"x", {"SELECT Name FROM Band"}, ""}, "no db_id");
  expect({"x", {"SELECT Name FROM Band"}, "bandz"}, "db_id 'bandz' is not in");
  expect({"x", {"SELECT Name FROM Band"}, "../bands"}, "db_id '../bands' is not in");
  expect({"x", {"a", "b"}, "bands"}, "expected one gold query, got 2");
  expect({"x", {}, "bands"}, "no references");
  EXPECT_THAT([&] { scorer.score({}); }, ThrowsMessage<DataError>(HasSubstr("no predictions")));
}

TEST_F(SpiderScoringTest, TheFolderMustBeThere) {
  const test::TemporaryFolder empty;
  EXPECT_THAT([&] { Scorer(empty.path(), false); }, ThrowsMessage<DataError>(HasSubstr("tables.json")));
  empty.write("tables.json", "[]");
  EXPECT_NO_THROW(Scorer(empty.path(), false));
  EXPECT_THAT([&] { Scorer(empty.path(), true); },
              ThrowsMessage<DataError>(testing::AllOf(HasSubstr("database: no such folder"), HasSubstr("yale-lily"))));
  EXPECT_THAT([] { make_metric("exact"); }, ThrowsMessage<ConfigError>(HasSubstr("--spider DIR")));
}

TEST_F(SpiderScoringTest, ScoresAreByLevelAndByClause) {
  const std::vector<Record> records = {{"select name from band", {"SELECT Name FROM Band"}, "bands"},
                                       {"select name from band where members > 1", {"SELECT Name FROM Band"}, "bands"},
                                       {"select name from band where members = 3",
                                        {"SELECT Name FROM Band WHERE Members = 4 AND Band_ID = 1"},
                                        "bands"}};
  const Scores exact = make_metric("exact", folder_.path())->score(records);
  EXPECT_THAT(exact, ElementsAre(testing::Pair("exact", testing::DoubleEq(1.0 / 3)), testing::Pair("exact_easy", 0.5),
                                 testing::Pair("exact_medium", 0.0)));
  const Scores execution = make_metric("execution", folder_.path())->score(records);
  EXPECT_EQ(execution.at("execution_easy"), 1.0);
  const Scores all = make_metric("spider", folder_.path())->score(records);
  EXPECT_EQ(all.at("partial_select_f1"), 1.0);
  EXPECT_EQ(all.at("partial_where_acc"), 0.0) << "two predictions have it, none right";
  EXPECT_EQ(all.at("partial_where_f1"), 1.0) << "what the script prints for 0 and 0";
  EXPECT_EQ(all.at("partial_order_acc"), 0.0) << "no query has it";
  EXPECT_EQ(make_metric("spider", folder_.path())->score_one(records[0]).at("execution_easy"), 1.0);
}

}  // namespace
}  // namespace mpeft::metrics::spider
