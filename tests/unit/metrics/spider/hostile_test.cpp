// What a model may write, on purpose or not: none of it crashes, takes long, reads another file or changes a byte.

#include <algorithm>
#include <ctime>

#include <gmock/gmock.h>

#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"
#include "mpeft/core/random.h"
#include "mpeft/core/strings.h"
#include "mpeft/metrics/metric.h"

#include "metrics/spider/database_file.h"
#include "unit/metrics/spider/small_folder.h"

namespace mpeft::metrics::spider {
namespace {

std::string repeated(const std::string& piece, int n) {
  std::string text;
  for (int i = 0; i < n; ++i) text += piece;
  return text;
}

// SQL of 250,000 times one letter.
std::string long_text(char letter) {
  return "replace('" + std::string(500, 'x') + "', 'x', '" + std::string(500, letter) + "')";
}

// Statements and functions that would write, or read what is not the database's. "@" is the folder.
std::vector<std::string> forbidden() {
  std::vector<std::string> queries = {
      "ATTACH DATABASE '@/other.sqlite' AS other",
      "ATTACH ':memory:' AS m",
      "ATTACH 'file:@/other.sqlite?mode=rwc' AS other",
      "DETACH main",
      "VACUUM",
      "VACUUM INTO '@/copy.sqlite'",
      "REINDEX",
      "ANALYZE",
      "BEGIN",
      "BEGIN EXCLUSIVE",
      "COMMIT",
      "ROLLBACK",
      "SAVEPOINT a",
      "RELEASE a",
      "EXPLAIN DROP TABLE Band",
      "INSERT INTO Band VALUES (9, 'x', 1)",
      "INSERT INTO Band SELECT * FROM Band RETURNING *",
      "REPLACE INTO Band VALUES (1, 'x', 1)",
      "UPDATE Band SET Name = 'x'",
      "UPDATE Band SET Name = 'x' RETURNING Name",
      "DELETE FROM Band",
      "DELETE FROM Band RETURNING *",
      "WITH x AS (SELECT 1) DELETE FROM Band",
      "DROP TABLE Band",
      "DROP VIEW big",
      "DROP INDEX i",
      "CREATE TABLE x (a)",
      "CREATE TEMP TABLE x (a)",
      "CREATE TABLE x AS SELECT * FROM Band",
      "CREATE INDEX i ON Band (Name)",
      "CREATE VIEW v AS SELECT 1",
      "CREATE TEMP VIEW v AS SELECT 1",
      "CREATE TRIGGER t AFTER INSERT ON Band BEGIN SELECT 1; END",
      "CREATE VIRTUAL TABLE f USING fts5(a)",
      "CREATE VIRTUAL TABLE f USING fts4(a)",
      "CREATE VIRTUAL TABLE r USING rtree(a, b, c)",
      "CREATE VIRTUAL TABLE c USING csv(filename='/etc/passwd')",
      "CREATE VIRTUAL TABLE d USING dbstat",
      "ALTER TABLE Band RENAME TO b",
      "ALTER TABLE Band ADD COLUMN x",
      "ALTER TABLE Band DROP COLUMN Name",
      "SELECT load_extension('@/evil.so')",
      "SELECT load_extension('@/evil.so', 'main')",
      "SELECT writefile('@/written', 'x')",
      "SELECT readfile('/etc/passwd')",
      "SELECT edit('x')",
      "SELECT fts3_tokenizer('simple')",
      "SELECT fts3_tokenizer('simple', x'4141414141414141')",
      "SELECT zeroblob(1000000000)",
      "SELECT randomblob(1000000000)",
      "SELECT length(zeroblob(2000000000))",
      "SELECT random()",
      "SELECT sqlite_source_id()",
      "SELECT sqlite_compileoption_get(1)",
      "SELECT sqlite_offset(Name) FROM Band",
      "SELECT * FROM sqlite_master",
      "SELECT * FROM sqlite_schema",
      "SELECT * FROM sqlite_temp_master",
      "SELECT name FROM main.sqlite_master",
      "SELECT (SELECT sql FROM sqlite_master LIMIT 1) FROM Band",
      "SELECT * FROM pragma_database_list",
      "SELECT file FROM pragma_database_list()",
      "SELECT * FROM pragma_table_info('Band')",
      "SELECT * FROM pragma_journal_mode('wal')",
      "SELECT * FROM pragma_compile_options",
      "SELECT * FROM json_each('[1,2]')",
      "SELECT * FROM json_tree('{}')",
      "SELECT * FROM generate_series(1, 1000000000)",
      "SELECT * FROM dbstat",
      "SELECT * FROM sqlite_dbpage",
      "SELECT * FROM sqlite_stmt",
      "SELECT * FROM bytecode('SELECT 1')",
      "SELECT * FROM fts3tokenize('simple')",
      "SELECT * FROM other.Band",
      "SELECT * FROM temp.Band",
      "SELECT rtreecheck('Band')",
      "SELECT fts5(?1)",
      "SELECT ?",
      "SELECT :name",
      "SELECT name FROM Band WHERE Name = @a",
      "SELECT $x",
      "SELECT 1; DROP TABLE Band",
      "SELECT 1; ATTACH '@/other.sqlite' AS o",
      "SELECT 1;;DELETE FROM Band",
      "SELECT name FROM Band LIMIT load_extension('@/evil.so')",
      "SELECT name FROM Band ORDER BY writefile('@/written', Name)",
      "SELECT name FROM Band WHERE Name IN (SELECT name FROM pragma_table_info('Band'))",
      "SELECT name FROM Band UNION SELECT sql FROM sqlite_master",
      "SELECT '@/x' INTO OUTFILE '@/y'",
      "COPY Band TO '@/y'",
      ".shell touch @/y",
      ".dump",
      ".import /etc/passwd Band",
  };
  for (const char* pragma : {"journal_mode = WAL",
                             "journal_mode = DELETE",
                             "writable_schema = ON",
                             "user_version = 7",
                             "application_id = 7",
                             "query_only = OFF",
                             "trusted_schema = ON",
                             "locking_mode = EXCLUSIVE",
                             "synchronous = OFF",
                             "page_size = 512",
                             "temp_store_directory = '@'",
                             "temp_store = FILE",
                             "database_list",
                             "table_info(Band)",
                             "integrity_check",
                             "optimize",
                             "wal_checkpoint",
                             "cache_size = 100000000",
                             "mmap_size = 100000000",
                             "hard_heap_limit = 0",
                             "soft_heap_limit = 0",
                             "threads = 64",
                             "recursive_triggers = ON",
                             "encoding = 'UTF-16'",
                             "schema_version = 1",
                             "incremental_vacuum"})
    queries.push_back(str("PRAGMA ", pragma));
  return queries;
}

// Queries that would take for ever or fill the memory.
std::vector<std::string> bombs() {
  const std::string cross = repeated("Band, ", 20) + "Band";
  std::string aliased = "Band a0";
  for (int i = 1; i < 30; ++i) aliased += str(", Band a", i);
  std::vector<std::string> queries = {
      "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c",
      "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c",
      "WITH RECURSIVE c(x) AS (SELECT 'a' UNION ALL SELECT x || x FROM c) SELECT max(length(x)) FROM c",
      "WITH RECURSIVE c(x, y) AS (SELECT 1, 1 UNION SELECT x + 1, y FROM c UNION SELECT x, y + 1 FROM c) SELECT * FROM "
      "c",
      "SELECT name FROM Band LIMIT (WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x FROM c) SELECT x FROM c)",
      "SELECT count(*) FROM " + aliased,
      "SELECT a0.Name FROM " + aliased,
      "SELECT DISTINCT a0.Name, a1.Name, a2.Name, a3.Name, a4.Name, a5.Name, a6.Name, a7.Name, a8.Name, a9.Name, "
      "a10.Name "
      "FROM " +
          aliased,
      "SELECT a0.Name FROM " + aliased + " ORDER BY a29.Name, a0.Members",
      "SELECT sum(a0.Members) FROM " + aliased + " GROUP BY a0.Name, a1.Name, a2.Name, a3.Name, a4.Name, a5.Name",
      "SELECT group_concat(a0.Name) FROM " + aliased,
      "SELECT count(*) FROM " + cross,
      "SELECT printf('%1000000000d', 1)",
      "SELECT printf('%.*c', 1000000000, 'x')",
      "SELECT format('%2147483647s', 'x')",
      "SELECT trim(" + long_text('b') + ", " + long_text('a') + " || 'b')",
      "SELECT instr(" + long_text('a') + ", " + long_text('a') + " || 'b')",
      "SELECT replace(" + long_text('a') + ", " + long_text('a') + ", 'b')",
      "SELECT hex(" + long_text('a') + ")",
      "SELECT " + repeated("replace(", 30) + "'aaaaaaaaaa'" + repeated(", 'a', 'aaaaaaaaaa')", 30),
      "SELECT char(" + repeated("65,", 500) + "65)",
      "SELECT max(" + repeated("1,", 500) + "1)",
      "SELECT " + repeated("(", 200) + "1" + repeated(")", 200),
      "SELECT " + repeated("(", 20000) + "1" + repeated(")", 20000),
      "SELECT " + repeated("-", 3000) + " 1",
      "SELECT " + repeated("NOT ", 3000) + "1",
      "SELECT " + repeated("1+", 3000) + "1",
      "SELECT " + repeated("1 AND ", 3000) + "1",
      "SELECT " + repeated("'a' || ", 3000) + "'a'",
      "SELECT " + repeated("CASE WHEN 1 THEN ", 700) + "1" + repeated(" END", 700),
      "SELECT " + repeated("abs(", 2000) + "1" + repeated(")", 2000),
      repeated("SELECT * FROM (", 1000) + "SELECT 1" + repeated(")", 1000),
      "SELECT 1" + repeated(" UNION ALL SELECT 1", 3000),
      "SELECT 1" + repeated(" EXCEPT SELECT 1", 3000),
      "SELECT Name FROM Band WHERE Band_ID IN " + repeated("(SELECT Band_ID FROM Band WHERE Band_ID IN ", 800) + "(1)" +
          repeated(")", 800),
      "SELECT " + repeated("1,", 4000) + "1",
      "SELECT * FROM Band WHERE Name LIKE '" + repeated("%a", 5000) + "'",
      "SELECT * FROM Band WHERE Name GLOB '" + repeated("*a", 5000) + "'",
      "SELECT " + repeated("x", 60000),
      "SELECT '" + repeated("x", 70000) + "'",
      "SELECT \"" + repeated("x", 60000),
      "WITH " +
          [] {
            std::string tables = "a0 AS (SELECT 1 AS x)";
            for (int i = 1; i < 60; ++i)
              tables += str(", a", i, " AS (SELECT p.x FROM a", i - 1, " p, a", i - 1, " q)");
            return tables;
          }() +
          " SELECT count(*) FROM a59",
  };
  return queries;
}

// Anything may come of these, soon and without a trace.
std::vector<std::string> oddities() {
  std::vector<std::string> queries = {
      "",
      " ",
      ";",
      ";;;;",
      "--",
      "/*",
      "*/",
      "'",
      "\"",
      "`",
      "[",
      "\xff\xfe",
      "SELECT '\xff\xfe\x80'",
      "SELECT \xc3\x28 FROM Band",
      "SELECT Name FROM Band WHERE Name = '\xf0\x28\x8c\x28'",
      "SELECT Name FROM Band -- \xed\xa0\x80",
      std::string("SELECT 1\0", 9),
      std::string("\0SELECT 1", 9),
      std::string("SELECT Name FROM Band WHERE Name = 'a\0b'", 40),
      "SELECT\u00a01",
      "\ufeffSELECT 1",
      "SELECT 1 \u2028",
      "ＳＥＬＥＣＴ 1",
      "SELECT 9223372036854775807 + 1",
      "SELECT -9223372036854775808 / -1",
      "SELECT abs(-9223372036854775808)",
      "SELECT 1 / 0, 1 % 0",
      "SELECT sum(x) FROM (SELECT 9223372036854775807 AS x UNION ALL SELECT 1)",
      "SELECT substr('abc', -9223372036854775808, 9223372036854775807)",
      "SELECT round(1e308, 400), 1e999, -1e999",
      "SELECT strftime('%Y', '99999-99-99'), date('now', '+999999999999 years')",
      "SELECT hex(x'')",
      "SELECT '" + std::string(60000, 'a') + "' LIKE '" + repeated("%a", 120) + "b'",
      "SELECT '" + std::string(60000, 'a') + "' GLOB '" + repeated("*a", 120) + "b'",
      "SELECT '" + std::string(60000, 'a') + "' LIKE '%" + repeated("a", 250) + "b'",
      "SELECT upper('" + std::string(60000, 'a') + "') FROM Band a, Band b, Band c",
      "SELECT count(*) FROM Band a, Band b, Band c WHERE a.Name LIKE b.Name || '%' || c.Name",
      "SELECT * FROM Band, Band",
      "SELECT Name FROM Band NATURAL JOIN venue NATURAL JOIN Concert",
      "SELECT DISTINCT * FROM Band ORDER BY 1, 2, 3 LIMIT -1 OFFSET -1",
      "VALUES (1), (2)",
      "EXPLAIN SELECT * FROM Band",
      "EXPLAIN QUERY PLAN SELECT * FROM Band",
      "SELECT current_timestamp",
      "SELECT Name FROM Band WHERE Name MATCH 'a'",
      "SELECT Name FROM Band WHERE Name REGEXP '(a+)+$'",
      "SELECT Name COLLATE nothing FROM Band",
      "SELECT '{\"a\":1}' -> 'a'",
      "SELECT json_extract('[1]', '$[0]')",
  };
  Random random(5);
  const std::string letters = " \t\n'\"`;()*,.=<>+-/%|&~?:@$[]{}#\\0123456789abcdefSELECTFROMBand\xff\x80\xc3";
  for (int i = 0; i < 60; ++i) {
    std::string text = i % 2 == 0 ? "SELECT " : "";
    const auto n = random.below(200);
    for (uint64_t k = 0; k < n; ++k) text += letters[random.below(letters.size())];
    queries.push_back(text);
  }
  return queries;
}

std::vector<std::string> everything() {
  std::vector<std::string> queries;
  for (const auto& part : {forbidden(), bombs(), oddities()}) queries.insert(queries.end(), part.begin(), part.end());
  return queries;
}

class HostileSqlTest : public testing::Test {
 protected:
  HostileSqlTest() : before_(fs::sha256_file(folder_.database())), time_(last_change()) {}

  std::string with_folder(std::string query) const {
    for (size_t at = query.find("@/"); at != std::string::npos; at = query.find("@/"))
      query.replace(at, 1, folder_.path().string());
    return query;
  }

  void TearDown() override {
    EXPECT_EQ(fs::sha256_file(folder_.database()), before_);
    EXPECT_EQ(last_change(), time_);
    std::vector<std::string> files;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_.path())) {
      if (entry.is_regular_file()) files.push_back(entry.path().filename().string());
    }
    EXPECT_THAT(files, testing::UnorderedElementsAre("tables.json", "bands.sqlite"));
  }

  SmallFolder folder_;

 private:
  std::filesystem::file_time_type last_change() const { return std::filesystem::last_write_time(folder_.database()); }
  const std::string before_;
  const std::filesystem::file_time_type time_;
};

double processor_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

TEST_F(HostileSqlTest, TheDatabaseRefusesWhatIsNoQueryOfItsTables) {
  const DatabaseFile database(folder_.database());
  for (const auto& query : forbidden()) {
    EXPECT_NE(database.run(with_folder(query), 10).failure, "") << query;
  }
}

TEST_F(HostileSqlTest, NothingTakesLong) {
  const DatabaseFile database(folder_.database());
  const QueryLimits limits{.max_steps = 2'000'000, .max_seconds = 3, .max_rows = 100'000, .max_bytes = 16 << 20};
  const auto must_fail = bombs();
  for (const auto& query : everything()) {
    const double start = processor_seconds();
    const std::string failure = database.run(with_folder(query), 10, limits).failure;
    EXPECT_LT(processor_seconds() - start, 3.0) << query.substr(0, 200);
    if (std::find(must_fail.begin(), must_fail.end(), query) != must_fail.end()) {
      EXPECT_NE(failure, "") << query.substr(0, 200);
    }
  }
  EXPECT_EQ(database.run("SELECT count(*) FROM Band", 1).failure, "") << "and the database still answers";
}

TEST_F(HostileSqlTest, TheDefaultLimitsEndAnEndlessQuery) {
  const DatabaseFile database(folder_.database());
  const double start = processor_seconds();
  EXPECT_EQ(database.run(bombs()[5], 1).failure, "more than 200000000 steps");
  EXPECT_LT(processor_seconds() - start, 30.0);
}

// The same through the metric: as predictions, and as what stands behind a harmless query that the parser accepts.
TEST_F(HostileSqlTest, MetricsCountItAsWrong) {
  std::vector<Record> records;
  for (const auto& query : everything()) {
    if (query == bombs()[5] || query.find("RECURSIVE") != std::string::npos) continue;  // seconds each with full limits
    records.push_back({with_folder(query), {"SELECT Name FROM Band WHERE Members = 2"}, "bands"});
    records.push_back({with_folder("SELECT Name FROM Band LIMIT 1 " + query), {"SELECT Year FROM Concert"}, "bands"});
    records.push_back({with_folder("SELECT Name FROM Band ; " + query), {"SELECT Year FROM Concert"}, "bands"});
  }
  EXPECT_GE(records.size() / 3, 200U);
  const Scores scores = make_metric("spider", folder_.path())->score(records);
  EXPECT_EQ(scores.at("execution"), 0.0);
  EXPECT_EQ(scores.at("exact"), 0.0);
}

}  // namespace
}  // namespace mpeft::metrics::spider
