#include <gmock/gmock.h>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"
#include "mpeft/metrics/spider_database.h"

#include "support/temporary_folder.h"

namespace mpeft::metrics {
namespace {

using testing::HasSubstr;

constexpr const char* kGood =
    R"("db_id": "d", "table_names_original": ["T", "U"],
       "column_names_original": [[-1, "*"], [0, "a"], [1, "b"], [1, "c"]],
       "column_types": ["text", "number", "text", "time"], "primary_keys": [1, [2, 3]], "foreign_keys": [[2, 1]])";

class SpiderTablesTest : public testing::Test {
 protected:
  SpiderDatabases read(const std::string& text) const {
    folder_.write("tables.json", text);
    return read_spider_tables(folder_.path() / "tables.json");
  }
  std::string error_of(const std::string& text) const {
    try {
      read(text);
    } catch (const DataError& error) {
      return error.what();
    }
    return "";
  }
  static std::string with(const std::string& from, const std::string& to) {
    std::string text = kGood;
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return "[{" + text.replace(at, from.size(), to) + "}]";
  }
  test::TemporaryFolder folder_;
};

TEST_F(SpiderTablesTest, ReadsTablesColumnsAndKeys) {
  const auto databases = read(str("[{", kGood, "}]"));
  const SpiderDatabase& database = databases.at("d");
  EXPECT_THAT(database.tables, testing::ElementsAre("T", "U"));
  ASSERT_EQ(database.columns.size(), 4U);
  EXPECT_EQ(database.columns[0].table, -1);
  EXPECT_EQ(database.columns[3].name, "c");
  EXPECT_EQ(database.columns[3].type, "time");
  EXPECT_THAT(database.primary_keys, testing::ElementsAre(1, 2, 3));
  EXPECT_THAT(database.foreign_keys, testing::ElementsAre(testing::Pair(2, 1)));
}

TEST_F(SpiderTablesTest, RefusesWhatIsNotAListOfDatabases) {
  EXPECT_THAT(error_of(""), HasSubstr("tables.json: is empty; expected a JSON list of databases"));
  EXPECT_THAT(error_of("[{"), HasSubstr("tables.json:1:3: not valid JSON: syntax error"));
  EXPECT_THAT(error_of("[{x"), HasSubstr("tables.json:1:3: not valid JSON: syntax error"));
  EXPECT_THAT(error_of("{}"), HasSubstr("expected a JSON list"));
  EXPECT_THAT(error_of("[1]"), HasSubstr("database 1: expected an object"));
  EXPECT_THAT(error_of(std::string(100000, '[')), HasSubstr("nested deeper than 16"));
  EXPECT_THAT(error_of(str("[{", kGood, "},{", kGood, "}]")), HasSubstr("database 2: a second 'd'"));
  EXPECT_THROW(read_spider_tables(folder_.path() / "absent.json"), DataError);
}

TEST_F(SpiderTablesTest, NamesTheDatabaseAndWhatIsWrongWithIt) {
  const struct {
    const char *from, *to, *reason;
  } cases[] = {
      {R"("db_id": "d")", R"("id": "d")", "database 1: no 'db_id'"},
      {R"("d")", "5", "db_id: expected a text"},
      {R"("d")", R"("../d")", "db_id: not the name of a folder"},
      {R"("d")", R"("")", "db_id: not the name of a folder"},
      {R"("d")", R"("..")", "db_id: not the name of a folder"},
      {R"("d")", R"("a\u0000b")", "db_id: not the name of a folder"},
      {R"(["T", "U"])", R"(["T", 1])", "(d): table_names_original: expected a text"},
      {R"(["T", "U"])", "{}", "table_names_original: expected a list, got object"},
      {R"([0, "a"])", R"([2, "a"])", "column_names_original: column 1: table 2 of 2"},
      {R"([0, "a"])", R"([-2, "a"])", "column 1: table -2 of 2"},
      {R"([0, "a"])", R"([0.5, "a"])", "column 1: expected [table, name], got [0.5,\"a\"]"},
      {R"([0, "a"])", R"([0])", "expected [table, name]"},
      {R"([0, "a"])", R"([18446744073709551615, "a"])", "column 1: table 18446744073709551615 of 2"},
      {R"("number", )", "", "column_types: 3 types for 4 columns"},
      {R"("number")", "null", "column_types: expected a text, got null"},
      {"[1, [2, 3]]", "[4]", "primary_keys: column 4 of 4"},
      {"[1, [2, 3]]", "[-1]", "primary_keys: column -1 of 4"},
      {"[1, [2, 3]]", "[0]", "primary_keys: column 0 is of no table"},
      {"[1, [2, 3]]", "[[1, [2]]]", "primary_keys: expected the index of a column, got [2]"},
      {"[[2, 1]]", "[[2, 99]]", "foreign_keys: column 99 of 4"},
      {"[[2, 1]]", "[[2, 0]]", "foreign_keys: column 0 is of no table"},
      {"[[2, 1]]", "[[2]]", "foreign_keys: expected pairs of columns, got [2]"},
      {"[[2, 1]]", "[2]", "foreign_keys: expected pairs of columns, got 2"},
      {"[[2, 1]]", "[[\"b\", 1]]", "foreign_keys: expected the index of a column, got \"b\""},
  };
  for (const auto& [from, to, reason] : cases) EXPECT_THAT(error_of(with(from, to)), HasSubstr(reason)) << to;
}

}  // namespace
}  // namespace mpeft::metrics
