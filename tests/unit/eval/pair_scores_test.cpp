// Scores of classes and numbers: three readings of class scores, groups, numbers spelt out.

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mpeft/core/error.h"
#include "mpeft/eval/evaluator.h"

namespace mpeft::eval {
namespace {

using testing::HasSubstr;
using testing::Pair;
using testing::ThrowsMessage;
using testing::UnorderedElementsAre;

Prediction prediction(const std::string& text, const std::string& reference, double score_of_0, double score_of_1,
                      const std::string& group = "") {
  Prediction result;
  result.prediction = text;
  result.references = {reference};
  result.group = group;
  result.class_scores = {{"0", score_of_0}, {"1", score_of_1}};
  return result;
}

Prediction plain(const std::string& text, std::vector<std::string> references) {
  Prediction result;
  result.prediction = text;
  result.references = std::move(references);
  return result;
}

// Two right, one wrong, one that is no class though the right class is the likelier one.
const std::vector<Prediction> kFour = {prediction("1", "1", -2, -1), prediction("0", "0", -1, -2),
                                       prediction("0", "1", -1, -3), prediction(" the", "1", -9, -8)};

TEST(PairScores, StrictReferenceAndChoicesStandSideBySide) {
  // accuracy: 2 of 4; without the one that is no class 2 of 3; of the likelier class 3 of 4.
  EXPECT_THAT(score_predictions(kFour, {"accuracy"}),
              UnorderedElementsAre(Pair("accuracy", 0.5), Pair("accuracy_reference", testing::DoubleEq(2.0 / 3.0)),
                                   Pair("accuracy_choices", 0.75), Pair("out_of_class", 0.25)));
  const auto scores = score_predictions(kFour, {"f1", "matthews"});
  // F1 of class 1: one hit; predicted 1, true 3. Dropped: true 2. Choices: two hits, predicted 2.
  EXPECT_DOUBLE_EQ(scores.at("f1"), 2.0 / 4.0);
  EXPECT_DOUBLE_EQ(scores.at("f1_reference"), 2.0 / 3.0);
  EXPECT_DOUBLE_EQ(scores.at("f1_choices"), 4.0 / 5.0);
  // Matthews of (1 0 0) against (1 0 1): 0.5 of scikit-learn.
  EXPECT_NEAR(scores.at("matthews_reference"), 0.5, 1e-12);
  EXPECT_LT(scores.at("matthews"), scores.at("matthews_choices"));
}

TEST(PairScores, GroupsAreScoredTogetherAndAlone) {
  auto predictions = kFour;
  predictions[0].group = predictions[2].group = "matched";
  predictions[1].group = predictions[3].group = "mismatched";
  const auto scores = score_predictions(predictions, {"accuracy"});
  EXPECT_EQ(scores.size(), 12U);
  EXPECT_DOUBLE_EQ(scores.at("accuracy"), 0.5);
  EXPECT_DOUBLE_EQ(scores.at("accuracy_matched"), 0.5);
  EXPECT_DOUBLE_EQ(scores.at("accuracy_mismatched"), 0.5);
  EXPECT_DOUBLE_EQ(scores.at("accuracy_reference_mismatched"), 1.0);
  EXPECT_DOUBLE_EQ(scores.at("accuracy_choices_matched"), 0.5);
  EXPECT_DOUBLE_EQ(scores.at("out_of_class_matched"), 0.0);
}

TEST(PairScores, AModelThatNeverNamesAClassHasNoReferenceScore) {
  const auto scores = score_predictions({prediction("x", "1", -1, -2)}, {"accuracy"});
  EXPECT_EQ(scores.at("accuracy"), 0.0);
  EXPECT_TRUE(std::isnan(scores.at("accuracy_reference")));
  EXPECT_EQ(scores.at("out_of_class"), 1.0);
}

TEST(PairScores, NumbersMayBeSpeltOut) {
  const std::vector<Prediction> classes = {plain("1", {"1"}), plain("none", {"0"}), plain("0.5", {"0"}),
                                           plain("0", {"0"})};
  EXPECT_THAT(score_predictions(classes, {"accuracy"}), UnorderedElementsAre(Pair("accuracy", 0.5)));
  const std::vector<Prediction> numbers = {plain("1.5", {"1"}), plain("2e0", {"2.5"}), plain("-3", {"-4"})};
  EXPECT_GT(score_predictions(numbers, {"pearson"}).at("pearson"), 0.98);
  EXPECT_DOUBLE_EQ(score_predictions(numbers, {"spearman"}).at("spearman"), 1.0);
}

// STS-B, as T5's evaluation scores it: what is no number is -1, one less than the least similarity.
TEST(PairScores, APredictionThatIsNoNumberIsTheSmallestReferenceLessOne) {
  const auto with = [](const std::string& text) {
    return std::vector<Prediction>{plain("5", {"4.8"}), plain(text, {"3"}), plain("2.5", {"2.4"}), plain("1", {"0"})};
  };
  for (const std::string name : {"pearson", "spearman"}) {
    const double expected = score_predictions(with("-1"), {name}).at(name);
    for (const char* none : {"", "three", "3 or so", "nan", "1e999"})
      EXPECT_EQ(score_predictions(with(none), {name}).at(name), expected) << name << none;
    EXPECT_LT(expected, score_predictions(with("3"), {name}).at(name));
  }
  EXPECT_TRUE(std::isnan(score_predictions({plain("a", {"1"}), plain("b", {"2"})}, {"pearson"}).at("pearson")))
      << "a model that never names a number";
  // A class of that name is not hit by chance.
  EXPECT_EQ(score_predictions({plain("x", {"-1"}), plain("1", {"1"})}, {"accuracy"}).at("accuracy"), 0.5);
}

TEST(PairScores, HowManyPredictionsAreNoNumberIsSaidOnce) {
  testing::internal::CaptureStderr();
  score_predictions({plain("a", {"1"}), plain("2", {"2"}), plain("b", {"3"})}, {"pearson", "spearman", "accuracy"});
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              HasSubstr("pearson, spearman, accuracy: 2 of 3 predictions are no number"));
  testing::internal::CaptureStderr();
  score_predictions({plain("1", {"1"}), plain("2", {"2"})}, {"pearson"});
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

data::Example example(std::vector<std::string> references) {
  data::Example result;
  result.references = std::move(references);
  return result;
}

TEST(CheckReferences, NamesTheExampleThatAMetricCannotScoreAndWhatToDo) {
  const auto check = [](const std::string& metric, std::vector<data::Example> examples) {
    return [=] { check_references({"bleu", metric}, examples); };
  };
  const std::vector<data::Example> labels = {example({"1"}), example({"yes"}), example({"no"}), example({"no"})};
  EXPECT_THAT(check("accuracy", labels),
              ThrowsMessage<ConfigError>(testing::AllOf(
                  HasSubstr("metrics: accuracy cannot score the data: example 2: the reference 'yes' is no number"),
                  HasSubstr("texts are for bleu, rouge and meteor"), HasSubstr("data_options.classes: [1, no, yes]"))));
  EXPECT_THAT(check("pearson", labels), ThrowsMessage<ConfigError>(testing::Not(HasSubstr("data_options.classes"))));
  EXPECT_THAT(check("pearson", {example({"1"})}), ThrowsMessage<ConfigError>(HasSubstr("at least 2 example(s)")));
  EXPECT_THAT(check("pearson", {example({"1", "2"}), example({"1"})}),
              ThrowsMessage<ConfigError>(HasSubstr("example 1: expected one reference")));
  EXPECT_THAT(check("accuracy", {example({"0.5"}), example({"1"})}),
              ThrowsMessage<ConfigError>(HasSubstr("the reference 0.5 is no class")));
  EXPECT_THAT(check("f1", {example({"0"}), example({"1"}), example({"2"})}),
              ThrowsMessage<ConfigError>(HasSubstr("f1 is of two classes")));
  EXPECT_NO_THROW(check("accuracy", {example({"0"}), example({"2"})})());
  EXPECT_NO_THROW(check("spearman", {example({"0.5"}), example({"-2e3"})})());
  EXPECT_NO_THROW(check("rouge", labels)());
}

TEST(PairScores, NumbersHaveGroupsToo) {
  std::vector<Prediction> numbers = {plain("1", {"1"}), plain("2", {"2"}), plain("1", {"2"}), plain("2", {"1"})};
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i].group = i < 2 ? "a" : "b";
  const auto scores = score_predictions(numbers, {"pearson", "accuracy"});
  EXPECT_DOUBLE_EQ(scores.at("pearson_a"), 1.0);
  EXPECT_DOUBLE_EQ(scores.at("pearson_b"), -1.0);
  EXPECT_DOUBLE_EQ(scores.at("accuracy"), 0.5);
  EXPECT_DOUBLE_EQ(scores.at("accuracy_b"), 0.0);
}

TEST(PairScores, MetricsOfTextsAndOfClassesGoTogether) {
  const auto scores = score_predictions({plain("1", {"1"}), plain("0", {"1"})}, {"rouge1", "accuracy"});
  EXPECT_DOUBLE_EQ(scores.at("rouge1"), 0.5);
  EXPECT_DOUBLE_EQ(scores.at("accuracy"), 0.5);
}

TEST(PairScores, SayWhichPredictionCannotBeScored) {
  const auto score = [](std::vector<Prediction> predictions, const std::string& name = "accuracy") {
    return [=] { score_predictions(predictions, {name}); };
  };
  const auto good = prediction("1", "1", -1, -2);
  auto other = good;
  other.class_scores = {{"0", -1}, {"2", -1}};
  EXPECT_THAT(score({good, other}), ThrowsMessage<DataError>(HasSubstr("prediction 2: its class scores are of other")));
  EXPECT_THAT(score({good, prediction("1", "yes", -1, -2)}),
              ThrowsMessage<DataError>(HasSubstr("prediction 2: the reference 'yes' is none of the classes 0, 1")));
  EXPECT_THAT(score({plain("1", {"1", "2"})}), ThrowsMessage<DataError>(HasSubstr("expected one reference")));
  EXPECT_THAT(score({plain("1", {"x"})}), ThrowsMessage<DataError>(HasSubstr("the reference 'x' is no number")));
  EXPECT_THAT(score({}), ThrowsMessage<DataError>(HasSubstr("no predictions")));
  EXPECT_THAT(score({good}, "acuracy"), ThrowsMessage<ConfigError>(HasSubstr("did you mean 'accuracy'")));
}

}  // namespace
}  // namespace mpeft::eval
