#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"
#include "mpeft/data/dataset.h"

#include "unit/data/temporary_folder.h"

namespace mpeft::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Records of fields q and a, one a line.
std::string lines(int n) {
  std::string text;
  for (int i = 0; i < n; ++i) text += str("{\"q\": \"", i, "\", \"a\": \"x\"}\n");
  return text;
}

class JsonlTest : public TemporaryFolderTest {
 protected:
  TextDataset read(const std::string& path, Split split, const std::string& options) const {
    config::Problems problems;
    return read_dataset(
        {"jsonl:" + path, split, root_.string(), config::Node::from_string(options, "x.yaml", problems), ""});
  }
  std::string error_of(const std::string& path, Split split, const std::string& options) const {
    try {
      read(path, split, options);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  }
};

const char* const kOptions = "{input: 'Q: {q} ({n}) {{x}}', target: a, val_file: val.jsonl}";

TEST_F(JsonlTest, FieldsGoThroughTheTemplate) {
  write("t.jsonl",
        "\xEF\xBB\xBF{\"q\": \"why?\", \"n\": 3, \"a\": \"because\"}\r\n\r\n{\"q\": \"é\", \"n\": true, \"a\": [\"x\", "
        "\"y\"]}");
  const auto dataset = read("t.jsonl", Split::kTrain, kOptions);
  ASSERT_EQ(dataset.examples.size(), 2U);
  EXPECT_THAT(dataset.examples[0].input_parts, ElementsAre("Q: why? (3) {x}###"));
  EXPECT_EQ(dataset.examples[0].target, "because");
  EXPECT_THAT(dataset.examples[1].references, ElementsAre("x", "y"));
  EXPECT_EQ(dataset.examples[1].record, 2);
}

TEST_F(JsonlTest, InstructionReferencesMetricsAndEndTokenAreOptions) {
  write("t.jsonl", "{\"q\": \"1\", \"a\": \"x\", \"more\": [\"y\", \"x\"]}\n");
  const auto dataset = read("t.jsonl", Split::kTrain,
                            "{instruction: Answer., input: '{q}', target: a, references: [more], metrics: [rouge], "
                            "end_token: false, val_file: v}");
  EXPECT_THAT(dataset.examples[0].input_parts, ElementsAre("Answer.###", "1###"));
  EXPECT_THAT(dataset.examples[0].references, ElementsAre("x", "y"));
  EXPECT_THAT(dataset.metrics, ElementsAre("rouge"));
  EXPECT_FALSE(dataset.end_token_after_target);
}

TEST_F(JsonlTest, OneFileIsSplitIntoTrainingAndValidation) {
  write("t.jsonl", lines(10));
  const std::string options = "{input: '{q}', target: a}";
  const auto train = read("t.jsonl", Split::kTrain, options), val = read("t.jsonl", Split::kValidation, options);
  EXPECT_EQ(train.examples.size(), 8U);
  ASSERT_EQ(val.examples.size(), 2U);
  EXPECT_EQ(val.examples[0].record, 7);
  EXPECT_EQ(val.examples[1].record, 4);
  EXPECT_THAT(error_of("t.jsonl", Split::kTest, options), HasSubstr("data_options.test_file"));
}

TEST_F(JsonlTest, HowMuchIsForValidationIsAnOption) {
  write("t.jsonl", lines(10));
  const auto train = read("t.jsonl", Split::kTrain, "{input: '{q}', target: a, val_share: 0.35}");
  EXPECT_EQ(train.examples.size(), 6U);
  EXPECT_THAT(train.notes,
              ElementsAre(HasSubstr("4 of 10 records are (data_options.val_share: 0.35; 0 trains on all)")));
  EXPECT_EQ(read("t.jsonl", Split::kValidation, "{input: '{q}', target: a, val_share: 0.35}").examples.size(), 4U);
  EXPECT_THAT(read("t.jsonl", Split::kTrain, "{input: '{q}', target: a}").notes,
              ElementsAre(HasSubstr("2 of 10 records are (data_options.val_share: 0.2;")));

  const auto all = read("t.jsonl", Split::kTrain, "{input: '{q}', target: a, val_share: 0}");
  ASSERT_EQ(all.examples.size(), 10U);
  EXPECT_EQ(all.examples[0].record, 0);
  EXPECT_TRUE(all.notes.empty());
  EXPECT_THAT(error_of("t.jsonl", Split::kValidation, "{input: '{q}', target: a, val_share: 0}"),
              HasSubstr("val_share: 0: no record of t.jsonl is for validation: name val_data or data_options.val_file, "
                        "or set skip_eval: true"));
  EXPECT_THAT(error_of("t.jsonl", Split::kTrain, "{input: '{q}', target: a, val_share: 1}"), HasSubstr("val_share: "));
}

TEST_F(JsonlTest, AFileIsOneHoweverItIsSpelt) {
  write("t.jsonl", lines(10));
  write("v.jsonl", lines(3));
  std::filesystem::create_symlink(root_ / "t.jsonl", root_ / "link.jsonl");
  const std::string root = root_.string();
  for (const std::string& other : {std::string("./t.jsonl"), root + "/t.jsonl",
                                   root + "/../" + root_.filename().string() + "/t.jsonl", std::string("link.jsonl")}) {
    EXPECT_TRUE(is_one_dataset("jsonl:t.jsonl", "jsonl:" + other, root)) << other;
    // As val_file it is no other file either.
    const std::string options = "{input: '{q}', target: a, val_file: " + other + "}";
    EXPECT_EQ(read("t.jsonl", Split::kTrain, options).examples.size(), 8U) << other;
    EXPECT_EQ(read("t.jsonl", Split::kValidation, options).examples.size(), 2U) << other;
  }
  EXPECT_TRUE(is_one_dataset("jsonl:t.jsonl", "jsonl_10:t.jsonl", root));
  EXPECT_TRUE(is_one_dataset("dart", "dart", root));
  EXPECT_FALSE(is_one_dataset("jsonl:t.jsonl", "jsonl:v.jsonl", root));
  EXPECT_FALSE(is_one_dataset("jsonl:t.jsonl", "jsonl:absent.jsonl", root));
  EXPECT_FALSE(is_one_dataset("jsonl:t.jsonl", "dart", root));
}

// `data: jsonl:t.jsonl` with `val_data: jsonl:v.jsonl`: nothing of either is kept back.
TEST_F(JsonlTest, AFileThatSharesNothingIsReadWhole) {
  write("t.jsonl", lines(10));
  config::Problems problems;
  for (const Split split : {Split::kTrain, Split::kValidation}) {
    DatasetRequest request{"jsonl:t.jsonl", split, root_.string(),
                           config::Node::from_string("{input: '{q}', target: a}", "x.yaml", problems), ""};
    request.shares_file = false;
    const auto dataset = read_dataset(request);
    EXPECT_EQ(dataset.examples.size(), 10U) << to_string(split);
    EXPECT_TRUE(dataset.notes.empty());
  }
}

TEST_F(JsonlTest, ThePathMayNameTheSplit) {
  write("a-train.jsonl", "{\"q\": \"1\", \"a\": \"x\"}\n");
  write("a-dev.jsonl", "{\"q\": \"2\", \"a\": \"x\"}\n");
  const std::string options = "{input: '{q}', target: a}";
  EXPECT_THAT(read("a-{split}.jsonl", Split::kTrain, options).examples[0].input_parts, ElementsAre("1###"));
  EXPECT_THAT(read("a-{split}.jsonl", Split::kValidation, options).examples[0].input_parts, ElementsAre("2###"));
  EXPECT_THAT(error_of("a-{split}.jsonl", Split::kTest, options), HasSubstr("no file for split test"));
}

TEST_F(JsonlTest, MalformedLinesAreNamedOrTolerated) {
  const std::pair<const char*, const char*> cases[] = {
      {"  {\"q\": \"1\"", "t.jsonl:2:12: not valid JSON: "},
      {"{\"q\": 1 2", "t.jsonl:2:9: not valid JSON: "},
      {"[1]", "t.jsonl: record 2: expected a JSON object"},
      {"{\"q\": \"1\", \"n\": 1, \"a\": \"x\", \"q\": \"2\"}", "t.jsonl:2: the key 'q' is there twice"},
      {"{\"qq\": \"1\", \"n\": 1, \"a\": \"x\"}", "t.jsonl: record 2: no field 'q' (did you mean"},
      {"{\"q\": [1], \"n\": 1, \"a\": \"x\"}", "t.jsonl: record 2: field 'q': expected a text"},
      {"{\"q\": \"1\", \"n\": 1, \"a\": []}", "t.jsonl: record 2: field 'a': an empty list"},
      {"{\"q\": \"1\", \"n\": 1, \"a\": null}", "t.jsonl: record 2: field 'a': is null"},
  };
  for (const auto& [line, reason] : cases) {
    write("t.jsonl", std::string("{\"q\": \"1\", \"n\": 1, \"a\": \"x\"}\n") + line + "\n");
    const std::string error = error_of("t.jsonl", Split::kTrain, kOptions);
    EXPECT_THAT(error, HasSubstr(reason)) << line;
    EXPECT_THAT(error, HasSubstr("skip_bad_records=N leaves out")) << line;
    const std::string tolerant = "{input: 'Q: {q} ({n})', target: a, val_file: v, skip_bad_records: 1}";
    EXPECT_EQ(read("t.jsonl", Split::kTrain, tolerant).examples.size(), 1U);
  }
}

TEST_F(JsonlTest, ClassesMakeItASetOfLabels) {
  write("t.jsonl", "{\"q\": \"1\", \"a\": \"yes\"}\n{\"q\": \"2\", \"a\": [\"no\"]}\n");
  const std::string options = "{input: '{q}', target: a, val_file: v, classes: [no, yes]}";
  const auto dataset = read("t.jsonl", Split::kTrain, options);
  EXPECT_THAT(dataset.classes, ElementsAre("no", "yes"));
  EXPECT_THAT(dataset.metrics, ElementsAre("accuracy"));
  EXPECT_FALSE(dataset.end_token_after_target);
  EXPECT_EQ(dataset.examples[1].target, "no");
  write("t.jsonl", "{\"q\": \"1\", \"a\": 1}\n");
  EXPECT_EQ(
      read("t.jsonl", Split::kTrain, "{input: '{q}', target: a, val_file: v, classes: [0, 1]}").examples[0].target,
      "1");
  EXPECT_THAT(error_of("t.jsonl", Split::kTrain, options),
              HasSubstr("t.jsonl: record 1: field 'a': '1' is none of the classes no, yes"));
  write("t.jsonl", "{\"q\": \"1\", \"a\": [\"yes\", \"no\"]}\n");
  EXPECT_THAT(error_of("t.jsonl", Split::kTrain, options), HasSubstr("record 1: field 'a': expected one class, got 2"));
  for (const char* wrong : {"[]", "[yes]", "[a, a]", "['', a]"}) {
    EXPECT_THAT(error_of("t.jsonl", Split::kTrain, str("{input: '{q}', target: a, classes: ", wrong, "}")),
                HasSubstr("classes: expected two or more different texts"))
        << wrong;
  }
}

TEST_F(JsonlTest, WrongOptionsAreReportedTogether) {
  const std::string error = error_of("t.jsonl", Split::kTrain, "{input: '{q', targett: a}");
  EXPECT_THAT(error, HasSubstr("input: '{' without '}'"));
  EXPECT_THAT(error, HasSubstr("target: missing"));
  EXPECT_THAT(error, HasSubstr("targett: unknown key (did you mean 'target'?)"));
  EXPECT_THAT(error_of("t.jsonl", Split::kTrain, "{}"), HasSubstr("input: missing"));
  EXPECT_THAT(error_of("t.jsonl", Split::kTrain, "{input: {q: }, target: a}"),
              HasSubstr("input: a template that begins"));
  EXPECT_THAT(error_of("none.jsonl", Split::kTrain, kOptions), HasSubstr("none.jsonl: no such file"));
}

TEST(JsonlSampleTest, TheSampleIsRead) {
  config::Problems problems;
  const auto options = config::Node::from_string("{input: '{context}###{question}', target: answers}", "x", problems);
  const DatasetRequest request{"jsonl:jsonl/questions-{split}.jsonl", Split::kValidation,
                               MPEFT_SOURCE_DIR "/data/sample", options, ""};
  EXPECT_EQ(read_dataset(request).examples.size(), 20U);
}

}  // namespace
}  // namespace mpeft::data
