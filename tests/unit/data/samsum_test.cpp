#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/data/dataset_fixture.h"

namespace mpeft::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class SamsumTest : public DatasetTest {};

const char* const kRecords =
    "[{\"id\": \"13818513\", \"summary\": \"Ida brings soup.\", \"dialogue\": \"Ida: Hungry?\\r\\nOle: Sure 😀\"},\n"
    " {\"id\": \"1\", \"summary\": \" \", \"dialogue\": \"a: b\"},\n"
    " {\"id\": \"2\", \"summary\": \"Nobody spoke.\", \"dialogue\": \"\"}]";

TEST_F(SamsumTest, DialoguesKeepTheirLineEndsAndRecordsWithoutSummaryAreCounted) {
  write("samsum/train.json", kRecords);
  const auto dataset = read("samsum", Split::kTrain);
  ASSERT_EQ(dataset.examples.size(), 2U);
  EXPECT_TRUE(dataset.examples[0].input_parts[0].ends_with("###"));
  EXPECT_EQ(dataset.examples[0].input_parts[1], "Ida: Hungry?\r\nOle: Sure 😀###");
  EXPECT_EQ(dataset.examples[0].target, "Ida brings soup.");
  EXPECT_EQ(dataset.examples[1].input_parts[1], "###");
  EXPECT_THAT(records_of(dataset), ElementsAre(0, 2));
  EXPECT_THAT(dataset.notes, ElementsAre(HasSubstr("1 record without a summary")));
  EXPECT_THAT(dataset.metrics, ElementsAre("rouge1", "rouge2", "rougeL", "rougeLsum"));
  EXPECT_TRUE(dataset.end_token_after_target);
  EXPECT_TRUE(dataset.classes.empty());
}

TEST_F(SamsumTest, EverySplitHasItsFileAndTheFilesCanBeNamed) {
  for (const char* name : {"samsum/train.json", "samsum/val.json", "samsum/test.json", "mine/x.json"})
    write(name, kRecords);
  for (const Split split : {Split::kTrain, Split::kValidation, Split::kTest}) {
    EXPECT_THAT(read("samsum", split).source_files,
                ElementsAre((root_ / ("samsum/" + to_string(split) + ".json")).string()));
  }
  EXPECT_THAT(read("samsum", Split::kTest, "{folder: mine, test_file: x.json}").source_files,
              ElementsAre((root_ / "mine/x.json").string()));
  EXPECT_EQ(read("samsum", Split::kTrain, "{}", "Short!").examples[0].input_parts[0], "Short!###");
}

TEST_F(SamsumTest, MalformedRecordsAreNamedOrTolerated) {
  const std::pair<const char*, const char*> cases[] = {
      {"5", "expected an object with dialogue and summary"},
      {R"({"summary": "x"})", "dialogue: expected a text"},
      {R"({"summary": null, "dialogue": "x"})", "summary: expected a text"},
      {R"({"summary": ["x"], "dialogue": "x"})", "summary: expected a text"},
  };
  for (const auto& [record, reason] : cases) {
    write("samsum/val.json", std::string("[{\"summary\": \"s\", \"dialogue\": \"d\"},") + record + "]");
    EXPECT_THAT(error_of("samsum", Split::kValidation), HasSubstr(std::string("val.json: record 2: ") + reason));
    EXPECT_EQ(read("samsum", Split::kValidation, "{skip_bad_records: 1}").examples.size(), 1U);
  }
  write("samsum/val.json", "{}");
  EXPECT_THAT(error_of("samsum", Split::kValidation), HasSubstr("val.json: expected a JSON list"));
  write("samsum/val.json", "[{");
  EXPECT_THAT(error_of("samsum", Split::kValidation), HasSubstr("val.json:1:3: not valid JSON"));
  write("samsum/val.json", " \n");
  EXPECT_THAT(error_of("samsum", Split::kValidation), HasSubstr("val.json: is empty; expected JSON"));
}

TEST_F(SamsumTest, AbsentFilesAndVariantsAreExplained) {
  const std::string absent = error_of("samsum", Split::kValidation);
  EXPECT_THAT(absent, HasSubstr("looked for " + (root_ / "samsum/val.json").string()));
  EXPECT_THAT(absent, HasSubstr("prepare_data.py samsum"));
  EXPECT_THAT(error_of("samsum_x", Split::kTrain), HasSubstr("samsum has no variants"));
  EXPECT_THAT(error_of("samsum", Split::kTrain, "{tain_file: x}"), HasSubstr("did you mean 'train_file'"));
}

}  // namespace
}  // namespace mpeft::data
