#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "mpeft/core/fs.h"
#include "mpeft/text/tokenizer.h"

#include "data/spider_text.h"
#include "unit/data/dataset_fixture.h"
#include "unit/data/fake_tokenizer.h"

namespace mpeft::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kTables = R"([{"db_id": "bands", "table_names_original": ["Band", "Concert"],
  "column_names_original": [[-1, "*"], [0, "Band_ID"], [0, "Name"], [1, "Band_ID"], [1, "Year"]],
  "column_types": ["text", "number", "text", "number", "time"], "primary_keys": [1, 3, 4], "foreign_keys": [[3, 1]]}])";

std::string record_json(const std::string& question, const std::string& query) {
  return nlohmann::json{{"db_id", "bands"}, {"question", question}, {"query", query}, {"sql", {{"from", {1, {2}}}}}}
      .dump();
}

class SpiderTest : public DatasetTest {
 protected:
  SpiderTest() { write("spider/tables.json", kTables); }
  void write_list(const std::string& name, const std::vector<std::string>& records) const {
    write(name, "[" + join(records, ",") + "]");
  }
};

TEST_F(SpiderTest, SchemaTellsColumnsForeignAndPrimaryKeysOfEachTable) {
  metrics::SpiderDatabase database = metrics::read_spider_tables(root_ / "spider/tables.json").at("bands");
  EXPECT_EQ(spider_schema_text(database),
            "band: band_id number ,  name text ,  foreign:  ,  primary: band_id | "
            "concert: band_id number ,  year time ,  foreign: band_id from band ,  primary: band_id , year");
  database.columns.push_back({1, "Band2_ID", "number"});
  database.foreign_keys.emplace_back(5, 1);
  EXPECT_THAT(spider_schema_text(database), HasSubstr("foreign: band_id from band , band_id from band ,  primary"));
}

TEST_F(SpiderTest, PromptIsQuestionAndSchemaAndTheLabelIsInLowerCase) {
  write_list("spider/dev.json", {record_json("Who is it?", " SELECT Name FROM Band WHERE Name = \"The Owls\" \n")});
  const auto dataset = read("spider", Split::kValidation);
  ASSERT_EQ(dataset.examples.size(), 1U);
  const auto& example = dataset.examples[0];
  ASSERT_EQ(example.input_parts.size(), 2U);
  EXPECT_TRUE(example.input_parts[0].ends_with("###"));
  EXPECT_TRUE(example.input_parts[1].starts_with("Who is it?###band: band_id number ,  name text"));
  EXPECT_TRUE(example.input_parts[1].ends_with("primary: band_id , year###"));
  EXPECT_EQ(example.target, "select name from band where name = \"the owls\"");
  EXPECT_THAT(example.references, ElementsAre(example.target));
  EXPECT_EQ(example.db_id, "bands");
  EXPECT_THAT(dataset.metrics, ElementsAre("execution", "exact"));
  EXPECT_TRUE(dataset.end_token_after_target);
  EXPECT_EQ(dataset.max_length, 1536);
  EXPECT_EQ(dataset.databases, (root_ / "spider").string());
  EXPECT_EQ(dataset.source_files.size(), 2U) << "the questions and tables.json";
  const auto kept = read("spider", Split::kValidation, "{spider_lowercase: false}");
  EXPECT_EQ(kept.examples[0].target, "select name from band where name = \"The Owls\"");
  EXPECT_THAT(kept.examples[0].references, ElementsAre(kept.examples[0].target));
}

TEST_F(SpiderTest, OnlyQuotedTextsKeepTheirCase) {
  EXPECT_EQ(spider_label("SELECT A WHERE B = 'It\"S' AND C = \"IT'S\" OR D", false),
            "select a where b = 'It\"S' and c = \"IT'S\" or d");
  EXPECT_EQ(spider_label("SELECT 'Open ANd", false), "select 'Open ANd");
  EXPECT_EQ(spider_label(" \tSELECT 'A' \r\n", true), "select 'a'");
}

TEST_F(SpiderTest, TokensCarryTheDatabaseAndLongExamplesAreDroppedEverywhere) {
  write_list("spider/dev.json", {record_json("Short?", "SELECT Name FROM Band"),
                                 record_json(std::string(1500, 'q'), "SELECT Name FROM Band")});
  for (const bool for_training : {true, false}) {
    const auto tokens = tokenize(read("spider", Split::kValidation), FakeTokenizer(), {.for_training = for_training});
    ASSERT_EQ(tokens.examples.size(), 1U);
    EXPECT_EQ(tokens.n_dropped, 1);
    EXPECT_EQ(tokens.examples[0].db_id, "bands");
    EXPECT_EQ(tokens.databases, (root_ / "spider").string());
  }
}

TEST_F(SpiderTest, VariantsKeepTheirLevelsAfterTheSplit) {
  const std::string easy = record_json("?", "SELECT Name FROM Band");
  const std::string hard = record_json("?", "SELECT Name FROM Band WHERE Band_ID IN (SELECT Band_ID FROM Concert)");
  const std::string extra = record_json("?", "SELECT Name , Band_ID FROM Band EXCEPT SELECT Name , Band_ID FROM Band");
  const std::string unparsable = record_json("?", "SELECT Nothing FROM Band");
  write_list("spider/train_spider.json", {easy, hard, easy, extra, easy, hard, unparsable, easy, easy, extra});
  write_list("spider/dev.json", {easy, hard});
  EXPECT_THAT(records_of(read("spider_hard_extra", Split::kTrain)), ElementsAre(1, 3, 5, 9));
  EXPECT_THAT(records_of(read("spider_extra", Split::kTrain)), ElementsAre(3, 9));
  EXPECT_THAT(records_of(read("spider_easy", Split::kValidation)), ElementsAre(0));
  // numpy.random.default_rng(123).permutation(10) is 7 4 | 0 2 1 5 6 8 3 9.
  EXPECT_THAT(records_of(read("spider-tvt", Split::kTrain)), ElementsAre(0, 2, 1, 5, 6, 8, 3, 9));
  EXPECT_THAT(records_of(read("spider-tvt_hard_extra", Split::kTrain)), ElementsAre(1, 5, 3, 9));
  EXPECT_THAT(records_of(read("spider-tvt_easy", Split::kValidation)), ElementsAre(7, 4));
  EXPECT_THAT(records_of(read("spider-tvt_hard_extra", Split::kTest)), ElementsAre(1));
  EXPECT_THAT(read("spider_hard", Split::kTrain).notes, ElementsAre(HasSubstr("1 queries that cannot be parsed")));
  EXPECT_THAT(read("spider", Split::kTrain).notes, IsEmpty());
  EXPECT_EQ(read("spider_easy_10", Split::kTrain).examples.size(), 5U);
  EXPECT_THAT(error_of("spider_hrad", Split::kTrain), HasSubstr("no level 'hrad' (did you mean 'hard'?)"));
  EXPECT_THAT(error_of("spider:x", Split::kTrain), HasSubstr("spider has no path"));
}

TEST_F(SpiderTest, FurtherTrainingQuestionsAreReadWhenAskedFor) {
  const std::string record = record_json("?", "SELECT Name FROM Band");
  write_list("spider/train_spider.json", {record, record});
  EXPECT_THAT(error_of("spider", Split::kTrain, "{train_others: true}"), HasSubstr("no train_others.json"));
  write_list("spider/train_others.json", {record});
  EXPECT_EQ(read("spider", Split::kTrain).examples.size(), 2U);
  EXPECT_EQ(read("spider", Split::kTrain, "{train_others: true}").examples.size(), 3U);
}

TEST_F(SpiderTest, TheTestSplitNeedsAFile) {
  write_list("spider/mine.json", {record_json("?", "SELECT Name FROM Band")});
  EXPECT_THAT(error_of("spider", Split::kTest), HasSubstr("data_options.test_file, or use spider-tvt"));
  EXPECT_EQ(read("spider", Split::kTest, "{test_file: mine.json}").examples.size(), 1U);
}

TEST_F(SpiderTest, TheFolderIsLookedForInTwoPlaces) {
  write_list("spider/dev.json", {record_json("?", "SELECT Name FROM Band")});
  EXPECT_EQ(read("spider", Split::kValidation).databases, (root_ / "spider").string());
  write("xlangai_spider/spider/tables.json", kTables);
  EXPECT_THAT(error_of("spider", Split::kValidation), HasSubstr("xlangai_spider/spider/dev.json"))
      << "the first of them";
  EXPECT_EQ(read("spider", Split::kValidation, "{folder: spider}").examples.size(), 1U);
  const std::string error = error_of("spider", Split::kValidation, "{folder: nowhere}");
  EXPECT_THAT(error, HasSubstr("spider: no folder " + (root_ / "nowhere").string()));
  std::filesystem::remove_all(root_ / "spider");
  std::filesystem::remove_all(root_ / "xlangai_spider");
  const std::string absent = error_of("spider", Split::kTrain);
  EXPECT_THAT(absent, HasSubstr((root_ / "xlangai_spider/spider").string()));
  EXPECT_THAT(absent, HasSubstr(" nor " + (root_ / "spider").string()));
  EXPECT_THAT(absent, HasSubstr("https://yale-lily.github.io/spider"));
  EXPECT_THAT(absent, HasSubstr("scripts/prepare_data.py spider"));
}

TEST_F(SpiderTest, MalformedRecordsAreNamedOrTolerated) {
  const std::string good = record_json("?", "SELECT Name FROM Band");
  const std::pair<const char*, const char*> cases[] = {
      {"5", "expected an object"},
      {R"({"query": "q", "db_id": "bands"})", "question: expected a text"},
      {R"({"question": "?", "db_id": "bands"})", "query: expected a text"},
      {R"({"question": "?", "query": "q"})", "db_id: expected a text"},
      {R"({"question": ["?"], "query": "q", "db_id": "bands"})", "question: expected a text"},
      {R"({"question": "?", "query": " ", "db_id": "bands"})", "query: is empty"},
      {R"({"question": "?", "query": "q", "db_id": "bandz"})", "db_id: 'bandz' is not in tables.json"},
  };
  for (const auto& [record, reason] : cases) {
    write_list("spider/dev.json", {good, record});
    const std::string error = error_of("spider", Split::kValidation);
    EXPECT_THAT(error, HasSubstr("dev.json: record 2: ")) << record;
    EXPECT_THAT(error, HasSubstr(reason)) << record;
    const auto dataset = read("spider", Split::kValidation, "{skip_bad_records: 1}");
    EXPECT_EQ(dataset.examples.size(), 1U);
    EXPECT_THAT(dataset.notes, ElementsAre(HasSubstr("1 malformed record skipped (first: record 2")));
  }
  write("spider/dev.json", "{}");
  EXPECT_THAT(error_of("spider", Split::kValidation), HasSubstr("expected a JSON list"));
  write("spider/dev.json", "[{\"sql\": " + std::string(200, '[') + "]");
  EXPECT_THAT(error_of("spider", Split::kValidation), HasSubstr("nested deeper")) << "in what is not kept too";
  write("spider/tables.json", R"([{"db_id": "bands"}])");
  EXPECT_THAT(error_of("spider", Split::kValidation),
              HasSubstr("tables.json: database 1 (bands): no 'table_names_original'"));
}

class SpiderRealTest : public testing::Test {
 protected:
  void SetUp() override {
    const char* root = std::getenv("MPEFT_DATA_ROOT");
    root_ = root != nullptr ? root : MPEFT_SOURCE_DIR "/data";
    if (!std::filesystem::exists(root_ + "/spider/train_spider.json"))
      GTEST_SKIP() << "no Spider below " << root_ << " (set MPEFT_DATA_ROOT)";
  }
  TextDataset read(const std::string& name, Split split) const { return read_dataset({name, split, root_, {}, ""}); }
  std::string root_;
};

TEST_F(SpiderRealTest, SplitsAreEqualIndexForIndex) {
  const auto golden = nlohmann::json::parse(fs::read_file(MPEFT_TEST_GOLDEN_DIR "/data/splits.json"));
  const auto of_7000 = [](const nlohmann::json& cases, int64_t seed) {
    for (const auto& expected : cases) {
      if (expected.at("n") == 7000 && expected.at("seed") == seed) return expected;
    }
    throw std::runtime_error("splits.json has no case of 7000 records");
  };
  const auto tvt = of_7000(golden.at("numpy"), 123);
  EXPECT_EQ(fs::sha256(joined(records_of(read("spider-tvt", Split::kTrain)))),
            tvt.at("train_sha256").get<std::string>());
  EXPECT_EQ(fs::sha256(joined(records_of(read("spider-tvt", Split::kValidation)))),
            tvt.at("test_sha256").get<std::string>());
  EXPECT_EQ(read("spider-tvt", Split::kTest).examples.size(), 1034U);
  const auto subset = records_of(read("spider_1000", Split::kTrain));
  ASSERT_EQ(subset.size(), 1000U);
  const std::vector<int64_t> head = of_7000(golden.at("python"), 0).at("head");
  EXPECT_EQ(std::vector<int64_t>(subset.begin(), subset.begin() + 8), head);
  EXPECT_EQ(read("spider-tvt_1000", Split::kValidation).examples.size(), 100U);
}

TEST_F(SpiderRealTest, SevenThousandQuestionsAreReadAndTokenisedInThreeSeconds) {
  const std::string path = root_ + "/tokenizer/20B_tokenizer.json";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no " << path;
  const auto tokenizer = text::make_tokenizer(path);
  const std::clock_t start = std::clock();  // processor time, of all threads: the machine may have other work
  const auto dataset = read("spider", Split::kTrain);
  const auto tokens = tokenize(dataset, *tokenizer, {});
  const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  RecordProperty("seconds", std::to_string(seconds));
  EXPECT_EQ(dataset.examples.size(), 7000U);
  EXPECT_EQ(tokens.examples.size() + static_cast<size_t>(tokens.n_dropped), 7000U);
  EXPECT_EQ(tokens.n_dropped, 82) << "of more than 1,536 tokens";
  EXPECT_LT(seconds, 3.0);
}

TEST_F(SpiderRealTest, OfficialQuestionsHaveALevel) {
  const auto dev = read("spider_hard_extra", Split::kValidation);
  EXPECT_EQ(dev.examples.size(), 174U + 166U) << "as the official script counts";
  EXPECT_THAT(dev.notes, IsEmpty());
  size_t n = 0;
  for (const char* level : {"easy", "medium", "hard", "extra"})
    n += read(std::string("spider_") + level, Split::kTrain).examples.size();
  EXPECT_EQ(n, 6999U) << "one query names a column that its database lacks, which the script refuses too";
}

}  // namespace
}  // namespace mpeft::data
