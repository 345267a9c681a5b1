#include "metrics/spider/parser.h"

#include <gmock/gmock.h>

#include "mpeft/core/random.h"
#include "mpeft/core/strings.h"

#include "metrics/spider/hardness.h"
#include "metrics/spider/sql_error.h"
#include "metrics/spider/sql_tokens.h"
#include "unit/metrics/spider/small_schema.h"

namespace mpeft::metrics::spider {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const Schema& schema() {
  static const Schema instance = small_schema();
  return instance;
}

QueryPtr parse(const std::string& text) { return parse_sql(text, schema()); }

std::string refusal(const std::string& text) {
  try {
    parse(text);
  } catch (const SqlError& error) {
    return error.what();
  }
  return "";
}

TEST(SqlParser, ReadsEveryClause) {
  const QueryPtr query = parse(
      "SELECT DISTINCT T1.name, count(*) FROM band AS T1 JOIN concert AS T2 ON T1.band_id = T2.band_id "
      "WHERE T2.year > 1999 AND T1.name NOT LIKE '%The%' GROUP BY T1.band_id HAVING count(*) >= 2 "
      "ORDER BY count(*) DESC LIMIT 3 UNION SELECT name, capacity FROM venue");
  EXPECT_EQ(query->distinct, true);
  ASSERT_EQ(query->select.size(), 2U);
  EXPECT_EQ(query->select[0].value.left.column, "__band.name__");
  EXPECT_EQ(query->select[1].aggregate, 3);
  EXPECT_EQ(query->select[1].value.left.column, "__all__");
  EXPECT_THAT(query->tables, ElementsAre(TableUnit("__band__"), TableUnit("__concert__")));
  ASSERT_EQ(query->join_conditions.size(), 1U);
  const auto& on = std::get<Condition>(query->join_conditions[0]);
  EXPECT_EQ(std::get<ColumnUnit>(on.first).column, "__concert.band_id__");
  ASSERT_EQ(query->where.size(), 3U);
  EXPECT_EQ(std::get<double>(std::get<Condition>(query->where[0]).first), 1999);
  EXPECT_EQ(std::get<Connective>(query->where[1]), Connective::kAnd);
  const auto& like = std::get<Condition>(query->where[2]);
  EXPECT_TRUE(like.negated);
  EXPECT_EQ(like.op, kLike);
  EXPECT_EQ(std::get<std::string>(like.first), "\"%The%\"");
  EXPECT_EQ(query->group_by.size(), 1U);
  EXPECT_EQ(query->having.size(), 1U);
  EXPECT_TRUE(query->order_by->descending);
  EXPECT_TRUE(query->limit);
  ASSERT_NE(query->union_with.query, nullptr);
  EXPECT_EQ(query->union_with.query->select[1].value.left.column, "__venue.capacity__");
}

TEST(SqlParser, FindsQueriesInConditionsAndInFrom) {
  const QueryPtr from = parse("SELECT count(*) FROM (SELECT name FROM band WHERE members = 4)");
  ASSERT_EQ(from->tables.size(), 1U);
  EXPECT_EQ(std::get<Subquery>(from->tables[0]), Subquery{parse("select name from band where members = 4")});
  EXPECT_NE(std::get<Subquery>(from->tables[0]), Subquery{parse("select name from band where members = 5")});
  const QueryPtr in = parse("SELECT name FROM band WHERE band_id NOT IN (SELECT band_id FROM concert) AND members = 1");
  ASSERT_EQ(in->where.size(), 3U);
  EXPECT_TRUE(std::get<Condition>(in->where[0]).negated);
  EXPECT_EQ(std::get<Subquery>(std::get<Condition>(in->where[0]).first),
            Subquery{parse("select band_id from concert")});
}

TEST(SqlParser, ColumnsAreThoseOfTheTablesInFrom) {
  EXPECT_EQ(parse("SELECT name FROM venue JOIN band")->select[0].value.left.column, "__venue.name__") << "the first";
  EXPECT_THAT(refusal("SELECT year FROM band"), HasSubstr("no column 'year' in band"));
  EXPECT_THAT(refusal("SELECT T9.year FROM band"), HasSubstr("no table or alias 't9'"));
  EXPECT_THAT(refusal("SELECT band.year FROM band"), HasSubstr("no table or column 'band.year'"));
  EXPECT_THAT(refusal("SELECT a.b.c FROM band"), HasSubstr("two dots"));
  EXPECT_THAT(refusal("SELECT x FROM (SELECT name FROM band)"), HasSubstr("no table for column"));
  EXPECT_THAT(refusal("SELECT 'name' FROM band"), HasSubstr("no column"));
  EXPECT_THAT(refusal("SELECT name AS venue FROM band"), HasSubstr("alias 'venue' is the name of a table"));
}

TEST(SqlParser, IsAsLenientAsTheScript) {
  const std::string plain = "select name from band where members > 3";
  EXPECT_EQ(*parse(plain), *parse(plain + " ; drop table band")) << "what follows is ignored";
  EXPECT_EQ(*parse(plain), *parse(plain + ";;;"));
  EXPECT_EQ(*parse("select name from band limit 3"), *parse("select name from band limit banana split"));
  EXPECT_EQ(*parse("select name , members from band"), *parse("select name members from band")) << "no comma";
  EXPECT_EQ(*parse("select name from band join concert"), *parse("select name from band concert"));
  EXPECT_EQ(*parse("select count(name) from band"), *parse("select count name from band"));
  EXPECT_TRUE(parse("select name from band where")->where.empty());
  const QueryPtr without_connective = parse("select name from band where members > 3 name = 'x'");
  ASSERT_EQ(without_connective->where.size(), 2U);
  EXPECT_TRUE(std::holds_alternative<Condition>(without_connective->where[1]));
  EXPECT_THAT(refusal("select name from band where members > 3 name = 'x' and members < 9"), HasSubstr("connective"));
}

TEST(SqlParser, RefusesWhatTheScriptRefuses) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "no 'from'"},
      {"hello world", "no 'from'"},
      {"select name", "no 'from'"},
      {"select name from", "no table for column"},
      {"select name from nowhere", "no table or alias 'nowhere'"},
      {"update band set name = 'x' from band", "expected 'select' before 'update'"},
      {"select name from band where members", "ends too early"},
      {"select name from band where members ~ 3", "'~' is no comparison"},
      {"select name from band where members >", "ends too early"},
      {"select name from band where members between 1 or 2", "expected 'and' before 'or'"},
      {"select name from band where members in (1, 2)", "expected ')' before ','"},
      {"select name from band where (members > 3)", "expected ')' before '>'"},
      {"select name from band group members", "expected 'by'"},
      {"select name from band order", "ends too early"},
      {"select name from band limit", "ends too early"},
      {"select count(name from band", "expected ')' before 'from'"},
      {"select name as", "nothing after 'as'"},
      {"(select name from band", "ends too early"},
      {"with x as (select name from band) select * from x", "expected 'select' before 'with'"},
  };
  for (const auto& [text, reason] : cases) EXPECT_THAT(refusal(text), HasSubstr(reason)) << text;
}

TEST(SqlParser, DepthIsBounded) {
  const auto nested = [](int depth) {
    std::string text = "select name from band where members = ";
    for (int i = 0; i < depth; ++i) text += "( select members from band where members = ";
    text += "1";
    for (int i = 0; i < depth; ++i) text += " )";
    return text;
  };
  EXPECT_NO_THROW(parse(nested(kMaxDepth - 1)));
  EXPECT_THAT(refusal(nested(kMaxDepth)), HasSubstr("deeper"));
  std::string unions = "select name from band";
  std::string brackets = "select name from ";
  for (int i = 0; i < 1500; ++i) {
    unions += " union select name from band";
    brackets += "( select name from ";
  }
  EXPECT_THAT(refusal(unions), HasSubstr("deeper"));
  EXPECT_THAT(refusal(brackets), HasSubstr("deeper"));
  EXPECT_THROW(parse("select name from band where " + std::string(20000, '(')), SqlError);
}

// Any words in any order end in a query or in a refusal, soon.
TEST(SqlParser, SurvivesAnyWordsAndBytes) {
  const std::vector<std::string> words = {
      "select",    "from",  "where", "group", "by",      "order",  "having", "limit",      "union",    "except",
      "intersect", "(",     ")",     ",",     "*",       "count",  "max",    "none",       "distinct", "as",
      "join",      "on",    "and",   "or",    "not",     "in",     "like",   "between",    "=",        "!=",
      ">",         "<",     "-",     "band",  "concert", "name",   "t1",     "t1.name",    "year",     "1",
      "nan",       "\"x\"", ";",     "desc",  "is",      "exists", ".",      "__val_1_2__"};
  Random random(3);
  int n_parsed = 0;
  for (int trial = 0; trial < 20000; ++trial) {
    std::string text = trial % 3 == 0 ? "" : "select name from band ";
    const auto n = random.below(24);
    for (uint64_t i = 0; i < n; ++i) text += words[random.below(words.size())] + " ";
    if (trial % 50 == 0) {
      for (char& c : text) c = random.below(8) == 0 ? static_cast<char>(random.below(256)) : c;
    }
    try {
      const QueryPtr query = parse(text);
      hardness_of(*query);
      ++n_parsed;
    } catch (const SqlError&) {
    }
  }
  EXPECT_GT(n_parsed, 500) << "the words make queries too";
  EXPECT_LT(n_parsed, 19000);
}

TEST(Hardness, CountsClausesNestedQueriesAndOthers) {
  const std::pair<const char*, Hardness> cases[] = {
      {"select name from band", Hardness::kEasy},
      {"select name from band where members > 3", Hardness::kEasy},
      {"select name , members from band", Hardness::kMedium},
      {"select name from band where members > 3 and name = 'x'", Hardness::kMedium},
      {"select name from band order by members limit 1", Hardness::kMedium},
      {"select name from band where members > 3 order by members limit 1", Hardness::kHard},
      {"select name from band where band_id in ( select band_id from concert )", Hardness::kHard},
      {"select name from band except select name from venue", Hardness::kHard},
      {"select max(members) , min(members) from band where members > 1 and members < 9", Hardness::kHard},
      {"select name , members from band except select name , capacity from venue", Hardness::kExtra},
      {"select name from band where members > 1 or members < 9 group by name order by name limit 2", Hardness::kExtra},
      // The script takes a NOT and a connective in HAVING for aggregates.
      {"select max(members) from band where members = 1", Hardness::kEasy},
      {"select max(members) from band where members not = 1", Hardness::kMedium},
      {"select max(members) from band group by name having count(*) > 1", Hardness::kEasy},
      {"select max(members) from band group by name having count(*) > 1 and min(members) > 2", Hardness::kMedium},
  };
  for (const auto& [text, hardness] : cases) EXPECT_EQ(hardness_of(*parse(text)), hardness) << text;
}

}  // namespace
}  // namespace mpeft::metrics::spider
