#include <cstdlib>
#include <filesystem>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"
#include "mpeft/data/dataset.h"

#include "unit/data/dataset_fixture.h"

namespace mpeft::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const char* const kTwoRecords =
    "[\r\n{\"tripleset\": [[\"Mars Hill\", \"JOINED\", \"1973\"], [\"Mars Hill\", \"IN\", \"NC\"]],\r\n"
    "\"subtree_was_extended\": true, \"annotations\": [{\"source\": \"s\", \"text\": \"One.\"}, {\"source\": \"s\", "
    "\"text\": \"\"},"
    "{\"source\": \"s\", \"text\": \"Two.\"}]},\r\n"
    "{\"tripleset\": [[\"a\", \"b\", \"c\"]], \"annotations\": [{\"source\": \"s\", \"text\": \" \"}]},\r\n"
    "{\"tripleset\": [[\"x\", \"y\", \"z\"]], \"annotations\": [{\"source\": \"s\", \"text\": \"Three.\"}]}\r\n]\r\n";

class DartTest : public DatasetTest {};

TEST_F(DartTest, TriplesAreJoinedAndEmptyTextsAreSkippedAndCounted) {
  write("dart/dart-v1.1.1-full-dev.json", kTwoRecords);
  const auto dataset = read("dart", Split::kValidation);
  ASSERT_EQ(dataset.examples.size(), 2U);
  const auto& first = dataset.examples[0];
  ASSERT_EQ(first.input_parts.size(), 2U);
  EXPECT_TRUE(first.input_parts[0].ends_with("###"));
  EXPECT_EQ(first.input_parts[1], "Mars Hill : JOINED : 1973 | Mars Hill : IN : NC###");
  EXPECT_EQ(first.target, "One.");
  EXPECT_THAT(first.references, ElementsAre("One.", "Two."));
  EXPECT_EQ(dataset.examples[1].record, 2);
  EXPECT_THAT(dataset.notes,
              ElementsAre(HasSubstr("2 empty reference texts"), HasSubstr("1 records without any text")));
  EXPECT_THAT(dataset.metrics, ElementsAre("bleu", "meteor"));
  EXPECT_TRUE(dataset.end_token_after_target);
  EXPECT_THAT(dataset.source_files, ElementsAre((root_ / "dart/dart-v1.1.1-full-dev.json").string()));
}

TEST_F(DartTest, PromptMetricsAndFilesCanBeChosen) {
  write("mine/a.json", kTwoRecords);
  const auto dataset = read("dart", Split::kTest, "{folder: mine, test_file: a.json, metrics: [rouge]}", "Say it.");
  EXPECT_EQ(dataset.examples[0].input_parts[0], "Say it.###");
  EXPECT_THAT(dataset.metrics, ElementsAre("rouge"));
}

TEST_F(DartTest, RecordsOfExcludedFilesAreLeftOutOfTraining) {
  write("dart/dart-v1.1.1-full-train.json", kTwoRecords);
  write("dart/other.json", R"([{"tripleset": [["x","y","z"]], "annotations": [{"text": "Another text."}]}])");
  const auto dataset = read("dart", Split::kTrain, "{exclude_files: [other.json]}");
  ASSERT_EQ(dataset.examples.size(), 1U);
  EXPECT_EQ(dataset.examples[0].record, 0);
}

TEST_F(DartTest, SlicesTakeAPartOfASplit) {
  std::string text = "[";
  for (int i = 0; i < 10; ++i)
    text += str(i > 0 ? "," : "", R"({"tripleset": [["s","r",")", i, R"("]], "annotations": [{"text": "t"}]})");
  write("dart/dart-v1.1.1-full-train.json", text + "]");
  const auto records = [&](const std::string& options) {
    std::vector<int64_t> list;
    for (const auto& example : read("dart", Split::kTrain, options).examples) list.push_back(example.record);
    return list;
  };
  EXPECT_THAT(records("{train_slice: {first: 2}}"), ElementsAre(0, 1));
  EXPECT_THAT(records("{train_slice: {last: 3}}"), ElementsAre(7, 8, 9));
  EXPECT_THAT(records("{train_slice: {range: [4, 6]}}"), ElementsAre(4, 5));
  EXPECT_EQ(records("{train_slice: {first: 99}, val_slice: {first: 1}}").size(), 10U);
  EXPECT_THAT(error_of("dart", Split::kTrain, "{train_slice: {range: [10, 12]}}"), HasSubstr("selects none of the 10"));
  EXPECT_THAT(error_of("dart", Split::kTrain, "{train_slice: {range: [6, 4]}}"),
              HasSubstr("train_slice.range: is empty"));
  EXPECT_THAT(error_of("dart", Split::kTrain, "{train_slice: {first: 1, last: 1}}"), HasSubstr("expected one of"));
}

TEST_F(DartTest, TvtTakesAFifthOfTrainingForValidationAndOfficialValidationForTest) {
  std::string text = "[";
  for (int i = 0; i < 10; ++i)
    text += str(i > 0 ? "," : "", R"({"tripleset": [["s","r",")", i, R"("]], "annotations": [{"text": "t"}]})");
  write("dart/dart-v1.1.1-full-train.json", text + "]");
  write("dart/dart-v1.1.1-full-dev.json", kTwoRecords);
  const auto records = [&](Split split) {
    std::vector<int64_t> list;
    for (const auto& example : read("dart-tvt", split).examples) list.push_back(example.record);
    return list;
  };
  // numpy.random.default_rng(123).permutation(10) is 7 4 0 2 1 5 6 8 3 9.
  EXPECT_THAT(records(Split::kTrain), ElementsAre(0, 2, 1, 5, 6, 8, 3, 9));
  EXPECT_THAT(records(Split::kValidation), ElementsAre(7, 4));
  EXPECT_THAT(records(Split::kTest), ElementsAre(0, 2));
  // random.Random(0).shuffle of ten: 7 8 1 5 3 …; a tenth for validation.
  std::vector<int64_t> subset;
  for (const auto& example : read("dart_10", Split::kValidation).examples) subset.push_back(example.record);
  EXPECT_EQ(subset.size(), 1U);
}

TEST_F(DartTest, MalformedRecordsAreNamedOrTolerated) {
  const std::string good = R"({"tripleset": [["a","b","c"]], "annotations": [{"text": "t"}]})";
  const std::pair<const char*, const char*> cases[] = {
      {"5", "expected an object"},
      {R"({"annotations": []})", "tripleset: expected a list"},
      {R"({"tripleset": [], "annotations": []})", "tripleset: expected a list"},
      {R"({"tripleset": [["a","b"]], "annotations": []})", "three texts"},
      {R"({"tripleset": [["a","b",3]], "annotations": []})", "three texts"},
      {R"({"tripleset": [["a","b","c"]]})", "annotations: expected a list"},
      {R"({"tripleset": [["a","b","c"]], "annotations": ["t"]})", "objects with a text"},
      {R"({"tripleset": [["a","b","c"]], "annotations": [{"text": null}]})", "objects with a text"},
  };
  for (const auto& [record, reason] : cases) {
    write("dart/dart-v1.1.1-full-dev.json", "[" + good + "," + record + "]");
    const std::string error = error_of("dart", Split::kValidation);
    EXPECT_THAT(error, HasSubstr("dev.json: record 2: ")) << record;
    EXPECT_THAT(error, HasSubstr(reason)) << record;
    const auto dataset = read("dart", Split::kValidation, "{skip_bad_records: 1}");
    EXPECT_EQ(dataset.examples.size(), 1U);
    EXPECT_THAT(dataset.notes, ElementsAre(HasSubstr("1 malformed record skipped (first: record 2")));
  }
  write("dart/dart-v1.1.1-full-dev.json", "[1,2,3]");
  EXPECT_THAT(error_of("dart", Split::kValidation, "{skip_bad_records: 2}"), HasSubstr("record 3"));
}

TEST_F(DartTest, FilesThatAreNotTheFormatAreRefused) {
  for (const std::string text : {"{", "[1", "\xff\xfe", "[\"\\ud800\"]"}) {
    write("dart/dart-v1.1.1-full-dev.json", text);
    EXPECT_THAT(error_of("dart", Split::kValidation), HasSubstr("full-dev.json:1:")) << text;
    EXPECT_THAT(error_of("dart", Split::kValidation), HasSubstr(": not valid JSON: ")) << text;
  }
  write("dart/dart-v1.1.1-full-dev.json", "");
  EXPECT_THAT(error_of("dart", Split::kValidation), HasSubstr("full-dev.json: is empty; expected JSON"));
  write("dart/dart-v1.1.1-full-dev.json", "{}");
  EXPECT_THAT(error_of("dart", Split::kValidation), HasSubstr("expected a JSON list"));
  write("dart/dart-v1.1.1-full-dev.json", std::string(100000, '['));
  EXPECT_THAT(error_of("dart", Split::kValidation), HasSubstr("nested deeper"));
}

TEST_F(DartTest, AnAbsentFileSaysWhereItWasLookedForAndHowToGetIt) {
  write("dart/dart-v1.0.0b-full-dev.json", "[]");
  const std::string error = error_of("dart", Split::kTrain);
  EXPECT_THAT(error, HasSubstr((root_ / "dart/dart-v1.1.1-full-train.json").string()));
  EXPECT_THAT(error, HasSubstr("scripts/prepare_data.py dart"));
  EXPECT_THAT(error, HasSubstr("the folder holds dart-v1.0.0b-full-dev.json (name one with data_options.train_file)"));
}

TEST_F(DartTest, UnknownNamesAndOptionsGetSuggestions) {
  EXPECT_THAT(error_of("dartt", Split::kTrain), HasSubstr("unknown data set (did you mean 'dart'?)"));
  EXPECT_THAT(error_of("dart_x", Split::kTrain), HasSubstr("no variants"));
  EXPECT_THAT(error_of("dart_5", Split::kTrain), HasSubstr("at least 10"));
  EXPECT_THAT(error_of("", Split::kTrain), HasSubstr("unknown data set"));
  // What a configuration is told together with its other problems.
  for (const char* name : {"dart", "glue-tvt_rte_1000", "spider-tvt_hard_extra", "jsonl:a.jsonl", "cifar_10"})
    EXPECT_EQ(dataset_name_problem(name), "") << name;
  EXPECT_THAT(dataset_name_problem("dartt"), HasSubstr("dartt: unknown data set (did you mean 'dart'?)"));
  EXPECT_THAT(dataset_name_problem("glue-tvt_rta"), HasSubstr("glue: expected a task, as in glue-tvt_rte, got 'rta'"));
  EXPECT_THAT(dataset_name_problem("spider_hrd"), HasSubstr("no level 'hrd' (did you mean 'hard'?)"));
  EXPECT_THAT(dataset_name_problem("jsonl"), HasSubstr("expected jsonl:PATH"));
  EXPECT_THAT(error_of("dart", Split::kTrain, "{train_fil: a, skip_bad_records: -1}"),
              HasSubstr("did you mean 'train_file'"));
  EXPECT_THAT(error_of("dart", Split::kTrain, "{train_fil: a, skip_bad_records: -1}"), HasSubstr("skip_bad_records"));
  EXPECT_THROW(split_from_string("vall"), ConfigError);
}

TEST(DartSampleTest, TheSampleTrainsOnOnePartAndAdaptsToAnother) {
  const auto read = [](Split split, const std::string& kind) {
    config::Problems problems;
    const auto options = config::Node::from_string(
        "{train_file: " + kind + "-train.json, val_file: " + kind + "-dev.json}", "x", problems);
    return read_dataset({"dart", split, MPEFT_SOURCE_DIR "/data/sample", options, ""});
  };
  const auto inputs = [](const TextDataset& dataset) {
    std::set<std::string> texts;
    for (const auto& example : dataset.examples) texts.insert(example.input_parts.back());
    return texts;
  };
  for (const std::string kind : {"people", "trips"}) {
    const auto train = inputs(read(Split::kTrain, kind));
    EXPECT_GE(train.size(), 240U);
    const auto dev = inputs(read(Split::kValidation, kind));
    EXPECT_EQ(dev.size(), 40U);
    for (const auto& input : dev) EXPECT_EQ(train.count(input), 0U) << input;
  }
}

class DartRealTest : public testing::Test {
 protected:
  void SetUp() override {
    const char* root = std::getenv("MPEFT_DATA_ROOT");
    root_ = root != nullptr ? root : MPEFT_SOURCE_DIR "/data";
    if (!std::filesystem::exists(root_ + "/dart/dart-v1.1.1-full-dev.json")) {
      GTEST_SKIP() << "no DART below " << root_ << " (set MPEFT_DATA_ROOT)";
    }
  }
  std::string root_;
};

TEST_F(DartRealTest, TheOfficialFilesAreRead) {
  const auto dev = read_dataset({"dart", Split::kValidation, root_, {}, ""});
  EXPECT_EQ(dev.examples.size(), 2768U);
  config::Problems problems;
  const auto options = config::Node::from_string(
      "{train_file: dart-v1.0.0b-full-dev.json, exclude_files: [dart-v1.1.1-full-dev.json]}", "x.yaml", problems);
  const auto train = read_dataset({"dart", Split::kTrain, root_, options, ""});
  EXPECT_EQ(train.examples.size(), 1242U) << "of 2,717, those in neither later file";
}

}  // namespace
}  // namespace mpeft::data
