#include "metrics/spider/database_file.h"

#include <gmock/gmock.h>

#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"

#include "unit/metrics/spider/small_folder.h"

namespace mpeft::metrics::spider {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class DatabaseFileTest : public testing::Test {
 protected:
  QueryResult run(const std::string& query, const QueryLimits& limits = {}) const {
    return database_.run(query, 100, limits);
  }
  std::string failure(const std::string& query, const QueryLimits& limits = {}) const {
    return run(query, limits).failure;
  }

  SmallFolder folder_;
  DatabaseFile database_{folder_.database()};
};

TEST_F(DatabaseFileTest, ReadsTablesWithoutViews) {
  std::vector<std::string> names;
  for (const auto& table : database_.schema().tables()) names.push_back(table.name);
  EXPECT_THAT(names, ElementsAre("band", "venue", "concert"));
  EXPECT_TRUE(database_.schema().has_column("venue", "capacity"));
  EXPECT_FALSE(database_.schema().has_table("big"));
}

TEST_F(DatabaseFileTest, GivesRowsAsPythonComparesThem) {
  const auto result =
      run("SELECT Name, Members, Capacity FROM venue JOIN Band ON Venue_ID = Band_ID OR Band_ID = 4 "
          "WHERE Capacity > 1000 AND Venue_ID = 2");
  EXPECT_EQ(result.failure, "ambiguous column name: Name");
  const auto rows =
      run("SELECT Band.Name, Members, Capacity, x'00ff' FROM venue, Band WHERE Venue_ID = 2 AND Band_ID > 2");
  ASSERT_EQ(rows.failure, "");
  EXPECT_EQ(rows.n_rows, 2U);
  ASSERT_EQ(rows.n_columns, 4U);
  EXPECT_THAT(rows.columns[0], ElementsAre(Cell("Nine Lamps"), Cell(std::monostate())));
  EXPECT_THAT(rows.columns[1], ElementsAre(Cell(int64_t{4}), Cell(int64_t{5})));
  EXPECT_THAT(rows.columns[2], ElementsAre(Cell(1500.5), Cell(1500.5)));
  EXPECT_THAT(rows.columns[3], ElementsAre(Cell(Blob{std::string("\0\xff", 2)}), Cell(Blob{std::string("\0\xff", 2)})));
  EXPECT_EQ(run("SELECT Capacity FROM venue WHERE Venue_ID = 1").columns[0], std::vector<Cell>{int64_t{200}})
      << "a whole REAL is the integer";
  EXPECT_EQ(run("SELECT 1e300, -0.0, '1'").columns[0], std::vector<Cell>{1e300});
  EXPECT_EQ(database_.run("SELECT * FROM Band", 2).columns.size(), 2U);
}

TEST_F(DatabaseFileTest, LiteralsMayStandInDoubleQuotes) {
  EXPECT_EQ(run("SELECT Members FROM Band WHERE Name = \"Pebble\"").columns[0], std::vector<Cell>{int64_t{2}});
}

TEST_F(DatabaseFileTest, TakesOneStatementAndCommentsAfterIt) {
  for (const char* query :
       {"SELECT 1", "SELECT 1;", " SELECT 1 ; -- end", "SELECT 1; /* a */ \n\t-- b\n", "SELECT 1; /* open"})
    EXPECT_EQ(failure(query), "") << query;
  for (const char* query : {"SELECT 1; SELECT 2", "SELECT 1;;", "SELECT 1; -- a\n;"})
    EXPECT_EQ(failure(query), "more than one statement") << query;
  for (const char* query : {"", " ", "-- nothing", "/* nothing */"}) EXPECT_EQ(failure(query), "no query") << query;
  EXPECT_EQ(failure(std::string("SELECT 1\0", 9)), "holds a NUL character");
  EXPECT_THAT(failure("SELECT 1 -- " + std::string(70000, 'x')), HasSubstr("longer than 65536 bytes"));
  EXPECT_THAT(failure("SELEC 1"), HasSubstr("syntax error"));
}

TEST_F(DatabaseFileTest, ReadsViewsAndCommonTables) {
  EXPECT_EQ(run("SELECT count(*) FROM big").columns[0], std::vector<Cell>{int64_t{3}});
  EXPECT_EQ(run("WITH few AS (SELECT Name FROM BAND WHERE members = 2) SELECT upper(Name) FROM few").columns[0],
            std::vector<Cell>{"PEBBLE"});
}

TEST_F(DatabaseFileTest, EndsAtEveryLimit) {
  const std::string product = "SELECT a.Name FROM Band a, Band b, Band c, Band d, Band e, Band f, Band g, Band h";
  EXPECT_EQ(failure(product), "");
  EXPECT_EQ(failure(product, {.max_steps = 10'000}), "more than 10000 steps");
  EXPECT_EQ(failure(product, {.max_seconds = 0}), "longer than 0 s");
  EXPECT_EQ(failure(product, {.max_rows = 10}), "more than 10 rows");
  EXPECT_EQ(failure(product, {.max_bytes = 1 << 10}), "more than 1.0 KiB");
  EXPECT_EQ(failure("SELECT Name FROM Band", {.max_rows = 4}), "") << "the limit itself is allowed";
  EXPECT_EQ(failure("SELECT Name FROM Band", {.max_rows = 3}), "more than 3 rows");
  EXPECT_EQ(run("SELECT Name FROM Band").n_rows, 4U) << "and the next query starts anew";
}

TEST(DatabaseFile, AnswersWithoutWritingAndFromAnyFolder) {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "a b%20?#/ü.sqlite";
  make_database(path, "CREATE TABLE t (a); INSERT INTO t VALUES (7);");
  std::filesystem::permissions(path, std::filesystem::perms::owner_read);
  const std::string before = fs::sha256_file(path);
  EXPECT_EQ(DatabaseFile(path).run("SELECT a FROM t", 1).columns[0], std::vector<Cell>{int64_t{7}});
  EXPECT_EQ(fs::sha256_file(path), before);
  EXPECT_THAT(fs::list_folder(path.parent_path()), ElementsAre("ü.sqlite"));
}

// SQLite puts an index of the log beside such a file even for a reader, unless it is opened as immutable.
TEST(DatabaseFile, LeavesNothingBesideAFileWithAWriteAheadLog) {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "w/wal.sqlite";
  make_database(path, "PRAGMA journal_mode = WAL; CREATE TABLE t (a); INSERT INTO t VALUES (7);");
  ASSERT_THAT(fs::list_folder(path.parent_path()), ElementsAre("wal.sqlite"));
  const std::string before = fs::sha256_file(path);
  const DatabaseFile database(path);
  EXPECT_EQ(database.run("SELECT a FROM t", 1).columns[0], std::vector<Cell>{int64_t{7}});
  EXPECT_THAT(fs::list_folder(path.parent_path()), ElementsAre("wal.sqlite"));
  EXPECT_EQ(fs::sha256_file(path), before);
}

TEST(DatabaseFile, NamesAFileThatIsNoDatabase) {
  const test::TemporaryFolder folder;
  const auto reason = [&](const std::string& name) -> std::string {
    try {
      const DatabaseFile file(folder.path() / name);
    } catch (const DataError& error) {
      return error.what();
    }
    return "";
  };
  folder.write("text.sqlite", std::string(5000, 'x'));
  make_database(folder.path() / "torn.sqlite", "CREATE TABLE t (a); CREATE TABLE u (b);");
  std::filesystem::resize_file(folder.path() / "torn.sqlite", 100);
  EXPECT_THAT(reason("text.sqlite"), HasSubstr("text.sqlite: cannot be read as an SQLite database"));
  EXPECT_THAT(reason("torn.sqlite"), HasSubstr("torn.sqlite: cannot be read as an SQLite database"));
  EXPECT_THAT(reason("absent.sqlite"), HasSubstr("absent.sqlite: cannot be opened"));
}

}  // namespace
}  // namespace mpeft::metrics::spider
