#include "metrics/spider/sql_tokens.h"

#include <cmath>

#include <gmock/gmock.h>

#include "metrics/spider/sql_error.h"

namespace mpeft::metrics::spider {
namespace {

using testing::ElementsAre;

TEST(SqlTokens, WordsAreLowerCasedAndQuotedTextsAreKept) {
  EXPECT_THAT(
      tokenize_sql("SELECT Name FROM Band WHERE Name = 'The Who' AND x > 1.5"),
      ElementsAre("select", "name", "from", "band", "where", "name", "=", "\"The Who\"", "and", "x", ">", "1.5"));
  EXPECT_THAT(tokenize_sql("count(DISTINCT T1.Name),max(x);"),
              ElementsAre("count", "(", "distinct", "t1.name", ")", ",", "max", "(", "x", ")", ";"));
  EXPECT_THAT(tokenize_sql(""), ElementsAre());
}

TEST(SqlTokens, EitherQuoteOpensAndCloses) {
  EXPECT_THAT(tokenize_sql("a = \"it' s '\""), ElementsAre("a", "=", "\"it\"", "s", "\"\"")) << "four quotes";
}

TEST(SqlTokens, AnEqualsSignWithoutBlanksIsNotCut) {
  EXPECT_THAT(tokenize_sql("a = 'x' and b='y'"), ElementsAre("a", "=", "\"x\"", "and", "b=__val_14_16__"));
}

TEST(SqlTokens, ComparisonsOfTwoSignsAreJoined) {
  EXPECT_THAT(tokenize_sql("a ! = 1 or b > = 2 or c < = 3 or d != 4"),
              ElementsAre("a", "!=", "1", "or", "b", ">=", "2", "or", "c", "<=", "3", "or", "d", "!=", "4"));
  EXPECT_THAT(tokenize_sql("= 1 >"), ElementsAre("=", "1", ">=", "1", ">"))
      << "the word before the first is the last one, as Python counts";
}

TEST(SqlTokens, AWordThatNamesAQuotedTextIsThatText) {
  EXPECT_THAT(tokenize_sql("'a' __val_0_2__"), ElementsAre("\"a\"", "\"a\""));
}

TEST(SqlTokens, OpenQuotesAndEndlessQueriesAreRefused) {
  EXPECT_THROW(tokenize_sql("select 'a"), SqlError);
  EXPECT_NO_THROW(tokenize_sql(std::string(kMaxQueryBytes, 'a')));
  EXPECT_THROW(tokenize_sql(std::string(kMaxQueryBytes + 1, 'a')), SqlError);
}

TEST(PythonFloat, TakesWhatPythonTakes) {
  const std::pair<const char*, double> numbers[] = {{"1", 1},
                                                    {"-2.5", -2.5},
                                                    {"+.5", 0.5},
                                                    {"5.", 5},
                                                    {"1e3", 1000},
                                                    {"1E-2", 0.01},
                                                    {"1_000", 1000},
                                                    {"1_0.0_1", 10.01},
                                                    {"1e1_0", 1e10},
                                                    {"\u0663\u0664", 34},
                                                    {"\U0001D7D8\U0001D7EB", 9}};
  for (const auto& [word, value] : numbers) EXPECT_EQ(python_float(word), value) << word;
  EXPECT_EQ(python_float("1e400"), HUGE_VAL);
  EXPECT_EQ(python_float("-inf"), -HUGE_VAL);
  EXPECT_EQ(python_float("+Infinity"), HUGE_VAL);
  EXPECT_TRUE(std::isnan(python_float("nan").value()));
}

TEST(PythonFloat, RefusesWhatPythonRefuses) {
  for (const char* word : {"",     "+",   ".",   "e5", "1e",    "0x10",    "nan(1)", "1__0",  "_1", "1_", "1_.0",
                           "1._0", "--1", "+-1", "1 ", "1,000", "infinit", "\u00b2", "1e5.0", "in", "1f", "t1.a"}) {
    EXPECT_EQ(python_float(word), std::nullopt) << word;
  }
}

}  // namespace
}  // namespace mpeft::metrics::spider
