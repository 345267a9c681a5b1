// The metrics against the values of the Python packages (scripts/golden/metrics_reference.py): over the small files in
// the repository always, over the complete ones where MPEFT_GOLDEN_ROOT says where they are.

#include <cmath>
#include <ctime>
#include <optional>

#include "mpeft/metrics/metric.h"
#include "mpeft/metrics/pair_metric.h"

#include "golden_cases.h"
#include "metrics/bleu.h"
#include "metrics/rouge.h"

namespace mpeft::metrics {
namespace {

constexpr RougeType kRougeTypes[] = {RougeType::kUnigrams, RougeType::kBigrams, RougeType::kLcs,
                                     RougeType::kSummaryLcs};

void expect_rouge(const Record& record, const nlohmann::json& expected, bool stem) {
  for (const RougeType type : kRougeTypes) {
    const RougeScore score = rouge_of(record, type, stem);
    const auto& values = expected.at(rouge_name(type));
    EXPECT_NEAR(score.precision, values.at(0).get<double>(), kTolerance) << rouge_name(type) << " stem " << stem;
    EXPECT_NEAR(score.recall, values.at(1).get<double>(), kTolerance) << rouge_name(type) << " stem " << stem;
    EXPECT_NEAR(score.f, values.at(2).get<double>(), kTolerance) << rouge_name(type) << " stem " << stem;
  }
}

void check_rouge(const std::vector<nlohmann::json>& lines) {
  for (size_t i = 0; i < lines.size() && !testing::Test::HasFailure(); ++i) {
    SCOPED_TRACE(testing::Message() << "line " << i + 1 << ": " << lines[i].dump());
    expect_rouge(to_record(lines[i]), lines[i].at("rouge"), false);
    expect_rouge(to_record(lines[i]), lines[i].at("rouge_stemmed"), true);
  }
}

void check_meteor(const std::vector<nlohmann::json>& lines) {
  const auto meteor = make_metric("meteor");
  std::vector<Record> records;
  double sum = 0;
  for (size_t i = 0; i < lines.size(); ++i) {
    records.push_back(to_record(lines[i]));
    sum += lines[i].at("meteor").get<double>();
    EXPECT_NEAR(meteor->score_one(records.back()).at("meteor"), lines[i].at("meteor").get<double>(), kTolerance)
        << "line " << i + 1 << ": " << lines[i].dump();
    if (testing::Test::HasFailure()) return;
  }
  EXPECT_NEAR(meteor->score(records).at("meteor"), sum / static_cast<double>(lines.size()), kTolerance);
}

/// BLEU of each line alone; null where the definition divides by zero.
void check_bleu(const std::vector<nlohmann::json>& lines) {
  for (size_t i = 0; i < lines.size() && !testing::Test::HasFailure(); ++i) {
    if (!lines[i].contains("bleu")) continue;
    const double expected = lines[i].at("bleu").is_null() ? 0.0 : lines[i].at("bleu").get<double>();
    EXPECT_NEAR(make_metric("bleu")->score_one(to_record(lines[i])).at("bleu"), expected, kTolerance)
        << "line " << i + 1 << ": " << lines[i].dump();
  }
}

/// BLEU of the corpora that the lines make: where a line has the value for the 50 lines that it ends.
void check_corpus_bleu(const std::vector<nlohmann::json>& lines) {
  std::vector<Record> corpus;
  int corpora = 0;
  for (const auto& line : lines) {
    corpus.push_back(to_record(line));
    if (!line.contains("corpus_of_last_50")) continue;
    const auto& expected = line.at("corpus_of_last_50");
    ASSERT_EQ(corpus.size(), 50U);
    const BleuParts parts = bleu_of(corpus);
    EXPECT_NEAR(parts.bleu, expected.at("bleu").get<double>(), kTolerance);
    EXPECT_NEAR(make_metric("bleu")->score(corpus).at("bleu"), expected.at("bleu").get<double>(), kTolerance);
    for (size_t n = 0; n < 4; ++n) {
      EXPECT_NEAR(parts.precisions[n], expected.at("precisions").at(n).get<double>(), kTolerance);
    }
    EXPECT_NEAR(parts.brevity_penalty, expected.at("brevity_penalty").get<double>(), kTolerance);
    EXPECT_EQ(parts.translation_length, expected.at("translation_length").get<int64_t>());
    EXPECT_EQ(parts.reference_length, expected.at("reference_length").get<int64_t>());
    corpus.clear();
    ++corpora;
  }
  EXPECT_GT(corpora, 0);
}

void check_pair(const std::string& name, const nlohmann::json& numbers, const nlohmann::json& values) {
  if (!values.contains(name)) return;
  const double score = make_pair_metric(name)->score(numbers.at("predictions").get<std::vector<double>>(),
                                                     numbers.at("references").get<std::vector<double>>());
  if (values.at(name).is_null()) {
    EXPECT_TRUE(std::isnan(score)) << name << ": " << score;
  } else {
    EXPECT_NEAR(score, values.at(name).get<double>(), kTolerance) << name;
  }
}

void check_classification(const std::vector<nlohmann::json>& lines) {
  for (size_t i = 0; i < lines.size() && !testing::Test::HasFailure(); ++i) {
    SCOPED_TRACE(testing::Message() << "line " << i + 1 << ": " << lines[i].dump());
    for (const std::string name : {"accuracy", "f1", "matthews"}) check_pair(name, lines[i], lines[i]);
    if (!lines[i].contains("regression")) continue;
    for (const std::string name : {"pearson", "spearman"})
      check_pair(name, lines[i]["regression"], lines[i]["regression"]);
  }
}

std::optional<std::filesystem::path> golden_root() {
  const char* root = std::getenv("MPEFT_GOLDEN_ROOT");
  return root == nullptr ? std::nullopt : std::optional(std::filesystem::path(root) / "metrics");
}

constexpr const char* kNoRoot = "MPEFT_GOLDEN_ROOT (folder of metrics/generation.jsonl) is not set";

TEST(GoldenCases, BleuEqualsTheReference) {
  for (const auto& folder : case_folders()) check_bleu(read_json_lines(folder / "generation.jsonl"));
}

TEST(GoldenCases, RougeEqualsTheReference) {
  for (const auto& folder : case_folders()) check_rouge(read_json_lines(folder / "generation.jsonl"));
}

TEST(GoldenCases, MeteorEqualsTheReference) {
  if (const std::string missing = missing_language_data(); !missing.empty()) GTEST_SKIP() << missing;
  for (const auto& folder : case_folders()) check_meteor(read_json_lines(folder / "generation.jsonl"));
}

TEST(GoldenCases, ClassificationEqualsTheReference) {
  for (const auto& folder : case_folders()) check_classification(read_json_lines(folder / "classification.jsonl"));
}

TEST(GoldenFiles, BleuOfEachCorpusEqualsTheReference) {
  if (!golden_root()) GTEST_SKIP() << kNoRoot;
  check_corpus_bleu(read_json_lines(*golden_root() / "generation.jsonl"));
}

TEST(GoldenFiles, RougeEqualsTheReference) {
  if (!golden_root()) GTEST_SKIP() << kNoRoot;
  check_rouge(read_json_lines(*golden_root() / "generation.jsonl"));
}

TEST(GoldenFiles, MeteorEqualsTheReferenceQuickly) {
  if (!golden_root()) GTEST_SKIP() << kNoRoot;
  if (const std::string missing = missing_language_data(); !missing.empty()) GTEST_SKIP() << missing;
  const auto lines = read_json_lines(*golden_root() / "generation.jsonl");
  check_meteor(lines);
  std::vector<Record> records;
  for (const auto& line : lines) records.push_back(to_record(line));
  const auto meteor = make_metric("meteor");
  const std::clock_t start = std::clock();  // processor time: the machine may have other work
  meteor->score(records);
  const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  RecordProperty("seconds", std::to_string(seconds));
  EXPECT_LT(seconds, 5.0) << "an optimised build takes about a tenth of a second";
}

TEST(GoldenFiles, ClassificationEqualsTheReference) {
  if (!golden_root()) GTEST_SKIP() << kNoRoot;
  check_classification(read_json_lines(*golden_root() / "classification.jsonl"));
}

}  // namespace
}  // namespace mpeft::metrics
