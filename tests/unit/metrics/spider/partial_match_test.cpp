#include "metrics/spider/partial_match.h"

#include <gmock/gmock.h>

#include "metrics/spider/comparable.h"
#include "metrics/spider/parser.h"
#include "unit/metrics/spider/small_schema.h"

namespace mpeft::metrics::spider {
namespace {

struct Compared {
  bool exact;
  std::vector<std::string> unequal;  // clauses
  ClauseScores clauses;
};

Compared compare(const std::string& prediction, const std::string& gold) {
  static const Schema schema = small_schema();
  static const ForeignKeyMap keys = foreign_key_map(small_database());
  const Query left = prediction.empty() ? Query() : comparable(*parse_sql(prediction, schema), keys);
  const Query right = comparable(*parse_sql(gold, schema), keys);
  Compared compared{false, {}, compare_clauses(left, right)};
  compared.exact = is_exact_match(left, right, compared.clauses);
  for (size_t i = 0; i < kClauses.size(); ++i) {
    if (!compared.clauses[i].equal) compared.unequal.emplace_back(kClauses[i]);
  }
  return compared;
}

TEST(ExactMatch, OrderOfPartsAndLiteralsDoNotCount) {
  const std::string gold =
      "select name , members from band where members > 3 and name = 'x' group by name , members order by name limit 3";
  EXPECT_TRUE(compare(gold, gold).exact);
  EXPECT_TRUE(
      compare("select distinct members , name from band where name = 'y' and members > 9 group by name , members "
              "order by name asc limit 1",
              gold)
          .exact);
  EXPECT_TRUE(compare("select T.name from band as T", "select name from band").exact);
}

TEST(ExactMatch, EitherEndOfAForeignKeyIsTheSameColumn) {
  const std::string gold = "select T1.band_id from band as T1 join concert as T2 on T1.band_id = T2.band_id";
  EXPECT_TRUE(compare("select T2.band_id from band as T1 join concert as T2 on T1.band_id = T2.band_id", gold).exact);
  EXPECT_FALSE(compare("select T2.venue_id from band as T1 join concert as T2 on T1.band_id = T2.band_id", gold).exact);
  EXPECT_FALSE(compare("select band_id from concert", "select band_id from band").exact) << "another table in FROM";
}

TEST(ExactMatch, JoinConditionsDoNotCountButTablesDo) {
  const std::string gold = "select T1.name from band as T1 join concert as T2 on T1.band_id = T2.band_id";
  EXPECT_TRUE(compare("select T1.name from concert as T2 join band as T1 on T2.year = T1.members", gold).exact);
  EXPECT_FALSE(compare("select name from band", gold).exact);
}

TEST(ExactMatch, AQueryInFromIsComparedWithItsLiterals) {
  const std::string gold = "select count(*) from ( select name from band where members = 4 )";
  EXPECT_TRUE(compare(gold, gold).exact);
  const auto other = compare("select count(*) from ( select name from band where members = 5 )", gold);
  EXPECT_FALSE(other.exact);
  EXPECT_TRUE(other.unequal.empty()) << "no clause tells";
  EXPECT_TRUE(compare("select name from band where members in ( select year from concert where year = 1 )",
                      "select name from band where members in ( select year from concert where year = 2 )")
                  .exact)
      << "elsewhere literals are ignored";
}

TEST(PartialMatch, NamesTheClausesThatDiffer) {
  using testing::ElementsAre;
  EXPECT_THAT(compare("select max(members) from band", "select min(members) from band").unequal, ElementsAre("select"));
  EXPECT_THAT(compare("select name from band where members > 1", "select name from band where members < 1").unequal,
              ElementsAre("where"));
  EXPECT_THAT(compare("select name from band where members > 1", "select name from band where band_id > 1").unequal,
              ElementsAre("where", "where(no OP)"));
  EXPECT_THAT(compare("select name from band where members > 1 or name = 'x'",
                      "select name from band where members > 1 and name = 'x'")
                  .unequal,
              ElementsAre("and/or", "keywords"));
  EXPECT_THAT(
      compare("select name from band group by name having count(*) > 1", "select name from band group by name").unequal,
      ElementsAre("group", "keywords"));
  EXPECT_THAT(compare("select name from band order by name limit 1", "select name from band order by name").unequal,
              ElementsAre("order", "keywords"));
  EXPECT_THAT(compare("select name from band union select name from venue",
                      "select name from band union select band_id from concert")
                  .unequal,
              ElementsAre("IUEN"));
}

TEST(PartialMatch, CountsThePartsOfEachSide) {
  const auto compared = compare("select name , members from band where members > 1",
                                "select name from band where members > 1 and name = 'x' or band_id = 2");
  EXPECT_EQ(compared.clauses[0].pred_total, 2);
  EXPECT_EQ(compared.clauses[0].label_total, 1);
  EXPECT_EQ(compared.clauses[2].pred_total, 1);
  EXPECT_EQ(compared.clauses[2].label_total, 3);
  EXPECT_EQ(compared.clauses[7].pred_total, 2) << "and/or: the script puts the gold query's total here";
  EXPECT_EQ(compared.clauses[7].label_total, 0);
}

TEST(PartialMatch, APredictionThatCannotBeParsedIsEmpty) {
  const auto compared = compare("", "select name from band");
  EXPECT_FALSE(compared.exact);
  EXPECT_THAT(compared.unequal, testing::ElementsAre("select", "select(no AGG)"));
}

TEST(ForeignKeyMap, ChainsShareTheirFirstColumn) {
  SpiderDatabase database = small_database();
  database.foreign_keys = {{5, 1}, {4, 5}, {7, 8}};
  const auto map = foreign_key_map(database);
  EXPECT_EQ(map.at("__concert.concert_id__"), "__band.band_id__");
  EXPECT_EQ(map.at("__concert.band_id__"), "__band.band_id__");
  EXPECT_EQ(map.at("__venue.venue_id__"), "__concert.venue_id__");
  EXPECT_EQ(map.count("__band.name__"), 0U);
}

}  // namespace
}  // namespace mpeft::metrics::spider
