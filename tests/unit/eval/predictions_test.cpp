#include "mpeft/eval/predictions.h"

#include <filesystem>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"
#include "mpeft/core/strings.h"

namespace mpeft::eval {
namespace {

class PredictionsTest : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(folder_); }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string error_of(const std::string& name, const std::string& content) {
    fs::write_file_atomic(folder_ / name, content);
    try {
      read_predictions(folder_ / name);
    } catch (const DataError& e) {
      return e.what();
    }
    return "nothing was thrown";
  }

  std::filesystem::path folder_ = std::filesystem::temp_directory_path() / str("mpeft_predictions_", ::getpid());
};

std::vector<Prediction> awkward() {
  return {
      {3, "capital : Oslo###", "Oslo \"is\" the capital.", {"Oslo, the capital."}},
      {4, "", "", {"a", ""}},
      {5, "tab\tnewline\nbackslash\\ null? - : # {x} 'q'", " yes", {"null", "~", "12", "true", "- a", "[1]"}},
      {6,
       "Zürich 名 \xF0\x9F\x98\x80",
       std::string("bell\a del\x7F nel\xC2\x85 ls\xE2\x80\xA8 bom\xEF\xBB\xBF zero") + '\0',
       {}},
      {7, "in", "1", {"0"}, "matched", {{"0", -0.1234567890123456}, {"yes: \"no\"", -1e-300}, {"null", 3}}},
      {8, "q###", "select 1", {"select 2"}, "", {}, "no: \"db\""},
  };
}

void expect_equal(const std::vector<Prediction>& a, const std::vector<Prediction>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].record, b[i].record);
    EXPECT_EQ(a[i].input, b[i].input);
    EXPECT_EQ(a[i].prediction, b[i].prediction);
    EXPECT_EQ(a[i].references, b[i].references);
    EXPECT_EQ(a[i].group, b[i].group);
    EXPECT_EQ(a[i].class_scores, b[i].class_scores);
    EXPECT_EQ(a[i].db_id, b[i].db_id);
  }
}

TEST_F(PredictionsTest, ComeBackAsTheyWereInBothFormats) {
  for (const auto* name : {"jsonl", "yaml"}) {
    SCOPED_TRACE(name);
    const auto format = predictions_format_from_string(name);
    const auto path = folder_ / ("predictions" + file_extension(format));
    write_predictions(path, awkward(), format);
    expect_equal(read_predictions(path), awkward());
    write_predictions(path, {}, format);
    EXPECT_TRUE(read_predictions(path).empty());
  }
}

// A configuration may have 1 MiB and 100,000 values; a thousand predictions with twenty references have more.
TEST_F(PredictionsTest, LargeOnesComeBackInBothFormats) {
  std::vector<Prediction> many;
  for (int i = 0; i < 5000; ++i)
    many.push_back({i, "input###", std::string(200, 'p'), std::vector<std::string>(20, "a reference")});
  for (const auto* name : {"jsonl", "yaml"}) {
    const auto format = predictions_format_from_string(name);
    const auto path = folder_ / ("predictions" + file_extension(format));
    write_predictions(path, many, format);
    EXPECT_GT(std::filesystem::file_size(path), 2U << 20) << name;
    expect_equal(read_predictions(path), many);
  }
}

TEST_F(PredictionsTest, AliasesDoNotMultiply) {
  std::string bomb = "- &a [x, x, x, x, x, x, x, x, x, x]\n";
  for (char c = 'b'; c < 'i'; ++c) {
    bomb += str("- &", c, " [");
    for (int i = 0; i < 10; ++i) bomb += str(i == 0 ? "*" : ", *", static_cast<char>(c - 1));
    bomb += "]\n";
  }
  EXPECT_THAT(error_of("bomb.yaml", bomb), testing::HasSubstr("more than 100,000 values"));
}

TEST_F(PredictionsTest, AreOneJsonObjectALine) {
  write_predictions(folder_ / "p.jsonl", {awkward()[0]});
  EXPECT_EQ(fs::read_file(folder_ / "p.jsonl"),
            "{\"record\":3,\"input\":\"capital : Oslo###\",\"prediction\":\"Oslo \\\"is\\\" the capital.\","
            "\"references\":[\"Oslo, the capital.\"]}\n");
}

TEST_F(PredictionsTest, ReplaceIllFormedUtf8) {
  for (const auto* name : {"p.jsonl", "p.yaml"}) {
    const bool is_yaml = std::string(name).ends_with("yaml");
    write_predictions(folder_ / name, {{0, "", "a\xFF", {"b"}}},
                      is_yaml ? PredictionsFormat::kYaml : PredictionsFormat::kJsonLines);
    EXPECT_EQ(read_predictions(folder_ / name)[0].prediction, "a\xEF\xBF\xBD");
  }
}

TEST_F(PredictionsTest, AcceptAnybodysRecords) {
  fs::write_file_atomic(
      folder_ / "p.jsonl",
      "\n{\"prediction\":\"a\",\"references\":[\"b\",\"c\"],\"more\":1}\r\n{\"references\":[],\"prediction\":\"\"}");
  const auto predictions = read_predictions(folder_ / "p.jsonl");
  ASSERT_EQ(predictions.size(), 2U);
  EXPECT_EQ(predictions[1].record, 1);
  EXPECT_THAT(to_records(predictions)[0].references, testing::ElementsAre("b", "c"));
  EXPECT_EQ(parse_predictions("{\"prediction\":1.5,\"references\":[2]}", "x")[0].prediction, "1.5");
  const auto query = parse_predictions("{\"prediction\":\"p\",\"gold\":\"g\",\"db_id\":\"d\"}", "x");
  EXPECT_THAT(to_records(query)[0].references, testing::ElementsAre("g"));
  EXPECT_EQ(to_records(query)[0].db_id, "d");
}

TEST_F(PredictionsTest, ErrorsNameFileLineAndReason) {
  using testing::HasSubstr;
  EXPECT_THAT(error_of("a.jsonl", "{\"prediction\":\"x\",\"references\":[]}\n{\"prediction\":\n"),
              HasSubstr("a.jsonl:2:15: not valid JSON: "));
  EXPECT_THAT(error_of("a.jsonl", "[1]\n"), HasSubstr("a.jsonl:1: expected a JSON object"));
  EXPECT_THAT(error_of("a.jsonl", "{\"references\":[]}\n"), HasSubstr("'prediction' is missing"));
  EXPECT_THAT(error_of("a.jsonl", "{\"prediction\":true,\"references\":[]}\n"),
              HasSubstr("expected a string or a number, got boolean"));
  EXPECT_THAT(error_of("a.jsonl", "{\"prediction\":1,\"references\":[1],\"class_scores\":[1]}\n"),
              HasSubstr("'class_scores': expected an object of numbers"));
  EXPECT_THAT(error_of("a.jsonl", "{\"prediction\":1,\"references\":[1],\"class_scores\":{\"0\":\"x\"}}\n"),
              HasSubstr("'class_scores': '0': expected a number"));
  EXPECT_THAT(error_of("a.jsonl", "{\"prediction\":\"\",\"references\":\"x\"}\n"),
              HasSubstr("expected a list of strings"));
  EXPECT_THAT(error_of("a.jsonl", "{\"prediction\":\"\",\"references\":[null]}\n"),
              HasSubstr("expected strings or numbers"));
  EXPECT_THAT(error_of("a.jsonl", "{\"prediction\":\"\",\"gold\":[\"x\"]}\n"), HasSubstr("'gold': expected a string"));
  EXPECT_THAT(error_of("a.jsonl", "{\"prediction\":\"\",\"gold\":\"x\",\"db_id\":1}\n"),
              HasSubstr("'db_id': expected"));
  EXPECT_THAT(error_of("a.jsonl", std::string(100000, '[')), HasSubstr("a.jsonl:1"));
  EXPECT_THAT(error_of("a.yaml", "a: 1\n"), HasSubstr("expected a list"));
  EXPECT_THAT(error_of("a.yaml", "- references: [a]\n"), HasSubstr("'prediction' is missing"));
  EXPECT_THROW(read_predictions(folder_ / "none.jsonl"), DataError);
  EXPECT_THROW(predictions_format_from_string("xml"), ConfigError);
}

}  // namespace
}  // namespace mpeft::eval
