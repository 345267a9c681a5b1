// What every registered metric does, and the definitions at the edges.

#include "mpeft/metrics/metric.h"

#include <cmath>

#include <gmock/gmock.h>

#include "mpeft/core/random.h"
#include "mpeft/metrics/pair_metric.h"

#include "golden_cases.h"

namespace mpeft::metrics {
namespace {

using testing::Each;
using testing::HasSubstr;
using testing::Pair;
using testing::ThrowsMessage;

std::string printable_name(const testing::TestParamInfo<std::string>& info) { return info.param; }

class EveryMetric : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    const std::string missing = GetParam() == "meteor" ? missing_language_data() : "";
    if (!missing.empty()) GTEST_SKIP() << missing;
    metric_ = make_metric(GetParam());
  }
  std::unique_ptr<Metric> metric_;
};

TEST_P(EveryMetric, IsHighForEqualTexts) {
  const Scores scores = metric_->score_one(
      {"The quick brown fox jumps over the lazy dog.", {"The quick brown fox jumps over the lazy dog."}});
  EXPECT_THAT(scores, Each(Pair(testing::StartsWith(GetParam().substr(0, 4)),
                                testing::AllOf(testing::Gt(0.99), testing::Le(1.0)))));
  EXPECT_FALSE(scores.empty());
}

TEST_P(EveryMetric, IsZeroForTextsWithoutWords) {
  for (const std::string empty : {"", " \n\t", "\u2003"}) {
    EXPECT_THAT(metric_->score_one({empty, {"a reference"}}), Each(Pair(testing::_, 0.0)));
    EXPECT_THAT(metric_->score_one({"a prediction", {empty}}), Each(Pair(testing::_, 0.0)));
    EXPECT_THAT(metric_->score_one({empty, {empty, empty}}), Each(Pair(testing::_, 0.0)));
  }
}

TEST_P(EveryMetric, NamesTheRecordWithoutReferences) {
  EXPECT_THAT([&] { metric_->score({{"a", {"a"}}, {"b", {}}}); }, ThrowsMessage<DataError>(HasSubstr("record 2")));
  EXPECT_THROW(metric_->score({}), DataError);
}

TEST_P(EveryMetric, SurvivesAnyBytes) {
  Random random(11);
  for (int trial = 0; trial < 100; ++trial) {
    const auto draw = [&] {
      std::string bytes(random.below(200), '\0');
      for (char& byte : bytes)
        byte = static_cast<char>(trial % 2 == 0 ? random.below(256) : " .'\"`-\n,:a\xe2\x80\x9d!?s)"[random.below(18)]);
      return bytes;
    };
    for (const auto& [name, value] : metric_->score_one({draw(), {draw(), draw()}})) {
      ASSERT_TRUE(value >= 0 && value <= 1) << name << " " << value;
    }
  }
}

TEST_P(EveryMetric, TakesLongTexts) {
  for (const std::string piece :
       {"word ", ".", "'", "a.", ". ", "-", "y", "`", "\" ", "n't ", "a\n", "(", " ", "&lt;"}) {
    std::string text;
    while (text.size() < 30000) text += piece;
    for (const auto& [name, value] : metric_->score_one({text, {text, "word " + text}})) {
      EXPECT_TRUE(value >= 0 && value <= 1) << name << " of " << piece;
    }
  }
}

std::vector<std::string> text_metric_names() {
  std::vector<std::string> names = metric_names();
  std::erase_if(names, needs_databases);
  return names;
}

INSTANTIATE_TEST_SUITE_P(Registered, EveryMetric, testing::ValuesIn(text_metric_names()), printable_name);

class EveryPairMetric : public testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<PairMetric> metric_ = make_pair_metric(GetParam());
};

TEST_P(EveryPairMetric, IsOneForEqualNumbers) {
  const std::vector<double> numbers = {0, 1, 1, 0, 1};
  EXPECT_NEAR(metric_->score(numbers, numbers), 1.0, kTolerance);
}

TEST_P(EveryPairMetric, RejectsWhatCannotBeScored) {
  const std::vector<double> two = {0, 1};
  const std::vector<double> three = {0, 1, 1};
  const std::vector<double> nan = {0, std::nan("")};
  const std::vector<double> infinite = {HUGE_VAL, 1};
  EXPECT_THROW(metric_->score(two, three), DataError);
  EXPECT_THROW(metric_->score({}, {}), DataError);
  EXPECT_THAT([&] { metric_->score(nan, two); }, ThrowsMessage<DataError>(HasSubstr("example 2")));
  EXPECT_THAT([&] { metric_->score(two, infinite); }, ThrowsMessage<DataError>(HasSubstr("example 1")));
}

TEST_P(EveryPairMetric, TakesOnlyIntegersForClasses) {
  const std::vector<double> halves = {0.5, 1, 0};
  const std::vector<double> classes = {0, 1, 0};
  if (metric_->takes_classes()) {
    EXPECT_THAT([&] { metric_->score(halves, classes); }, ThrowsMessage<DataError>(HasSubstr("example 1")));
  } else {
    EXPECT_TRUE(std::isfinite(metric_->score(halves, classes)));
  }
}

INSTANTIATE_TEST_SUITE_P(Registered, EveryPairMetric, testing::ValuesIn(pair_metric_names()), printable_name);

TEST(F1, CountsAPredictionOfNoClassAsWrong) {
  const std::vector<double> predictions = {1, -1, 0, 1};
  const std::vector<double> references = {1, 1, 0, 0};
  EXPECT_NEAR(make_pair_metric("f1")->score(predictions, references), 0.5, kTolerance);
  EXPECT_NEAR(make_pair_metric("accuracy")->score(predictions, references), 0.5, kTolerance);
}

TEST(F1, IsDefinedForTwoClassesOnly) {
  const std::vector<double> references = {0, 1, 2};
  EXPECT_THAT([&] { make_pair_metric("f1")->score(references, references); },
              ThrowsMessage<DataError>(HasSubstr("0, 1, 2")));
}

TEST(Correlation, IsNanWhereOneSideIsConstant) {
  const std::vector<double> constant = {2, 2, 2};
  const std::vector<double> rising = {1, 2, 3};
  EXPECT_TRUE(std::isnan(make_pair_metric("pearson")->score(constant, rising)));
  EXPECT_TRUE(std::isnan(make_pair_metric("spearman")->score(rising, constant)));
}

TEST(Registry, SuggestsTheNameThatWasMeant) {
  EXPECT_THAT([] { make_metric("blue"); }, ThrowsMessage<ConfigError>(HasSubstr("did you mean 'bleu'")));
  EXPECT_THAT([] { make_pair_metric("acuracy"); }, ThrowsMessage<ConfigError>(HasSubstr("did you mean 'accuracy'")));
}

TEST(Rouge, GroupsHaveEveryType) {
  EXPECT_EQ(make_metric("rouge")->score_one({"a", {"a"}}).size(), 4U);
  EXPECT_EQ(make_metric("rouge_stemmed")->score_one({"cats", {"cat"}}).at("rougeL_stemmed"), 1.0);
}

}  // namespace
}  // namespace mpeft::metrics
