#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"
#include "mpeft/data/dataset.h"

#include "unit/data/fake_tokenizer.h"

namespace mpeft::data {
namespace {

using testing::ElementsAre;

TextDataset two_examples() {
  TextDataset dataset;
  dataset.examples = {{{"do###", "a###"}, "x", {"x", "yy"}, 4}, {{"do###", "b###"}, "z", {"z"}, 7}};
  dataset.metrics = {"bleu"};
  return dataset;
}

TEST(TokenizeTest, TrainingHasARowForEachReferenceAndEvaluationOneForEachRecord) {
  const FakeTokenizer tokenizer;
  const auto training = tokenize(two_examples(), tokenizer, {.for_training = true});
  ASSERT_EQ(training.examples.size(), 3U);
  EXPECT_EQ(tokenizer.decode(training.examples[0].ids, false), "do###a###x<end>");
  EXPECT_EQ(tokenizer.decode(training.examples[1].ids, false), "do###a###yy<end>");
  EXPECT_EQ(training.examples[1].prompt_length, 9);
  EXPECT_EQ(training.examples[1].record, 4);
  const auto evaluation = tokenize(two_examples(), tokenizer, {.for_training = false});
  ASSERT_EQ(evaluation.examples.size(), 2U);
  EXPECT_THAT(evaluation.examples[0].references, ElementsAre("x", "yy"));
  EXPECT_THAT(evaluation.metrics, ElementsAre("bleu"));
}

TEST(TokenizeTest, ReferencesAreLeftOutWhereNobodyAsksForThem) {
  const auto training = tokenize(two_examples(), FakeTokenizer(), {.for_training = true, .with_references = false});
  ASSERT_EQ(training.examples.size(), 3U) << "a row for each all the same";
  for (const auto& example : training.examples) EXPECT_TRUE(example.references.empty());
}

TEST(TokenizeTest, WithoutEndTokenTheLabelStandsAlone) {
  auto dataset = two_examples();
  dataset.end_token_after_target = false;
  const FakeTokenizer tokenizer;
  EXPECT_EQ(tokenizer.decode(tokenize(dataset, tokenizer, {}).examples[0].ids, false), "do###a###x");
}

TEST(TokenizeTest, LongerExamplesAreDroppedAndCounted) {
  const FakeTokenizer tokenizer;
  const auto limited = tokenize(two_examples(), tokenizer, {.max_length = 11});
  EXPECT_EQ(limited.examples.size(), 2U) << "the row with target yy has 12 tokens";
  EXPECT_EQ(limited.n_dropped, 1);
  auto dataset = two_examples();
  dataset.max_length = 10;
  EXPECT_EQ(tokenize(dataset, tokenizer, {}).n_dropped, 3) << "the data set's own limit";
  EXPECT_EQ(tokenize(dataset, tokenizer, {.max_length = 100}).n_dropped, 0) << "the given limit wins";
}

TEST(TokenizeTest, TheResultDoesNotDependOnTheNumberOfThreads) {
  const FakeTokenizer tokenizer;
  TextDataset dataset;
  for (int i = 0; i < 1000; ++i) dataset.examples.push_back({{str("input ", i)}, str("target ", i * i), {}, i});
  const auto one = tokenize(dataset, tokenizer, {.n_threads = 1});
  for (const int64_t n_threads : {2, 7, 0}) {
    const auto many = tokenize(dataset, tokenizer, {.n_threads = n_threads});
    ASSERT_EQ(many.examples.size(), one.examples.size());
    for (size_t i = 0; i < one.examples.size(); ++i) {
      ASSERT_EQ(many.examples[i].ids, one.examples[i].ids);
      ASSERT_EQ(many.examples[i].record, one.examples[i].record);
    }
  }
}

TEST(TokenizeTest, AnErrorOfTheTokenizerReachesTheCaller) {
  TextDataset dataset;
  for (int i = 0; i < 500; ++i) dataset.examples.push_back({{i == 333 ? "FAIL" : "x"}, "y", {"y"}, i});
  EXPECT_THROW(tokenize(dataset, FakeTokenizer(), {.n_threads = 4}), DataError);
}

}  // namespace
}  // namespace mpeft::data
