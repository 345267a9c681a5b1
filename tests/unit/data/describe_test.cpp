#include "mpeft/data/describe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/data/fake_tokenizer.h"

namespace mpeft::data {
namespace {

using testing::ElementsAre;

TextDataset small() {
  TextDataset dataset;
  dataset.examples = {{{"ab#"}, "c", {"c", "dd"}, 3}, {{"x#"}, "yyyyy", {"yyyyy"}, 5}};
  dataset.notes = {"a note"};
  return dataset;
}

TEST(DescribeTest, AnExampleIsShownAsTheModelSeesIt) {
  const FakeTokenizer tokenizer;
  const auto shown = show_examples(tokenize(small(), tokenizer, {.for_training = false}), tokenizer, 1);
  ASSERT_EQ(shown.size(), 1U);
  EXPECT_EQ(shown[0].prompt, "ab#");
  EXPECT_EQ(shown[0].target, "c<end>");
  EXPECT_EQ(shown[0].record, 3);
  EXPECT_THAT(shown[0].references, ElementsAre("c", "dd"));
  std::string loss;
  for (const auto& token : shown[0].tokens) loss += token.carries_loss ? '1' : '0';
  EXPECT_EQ(loss, "00011");
  EXPECT_EQ(shown[0].tokens[0].text, "a");
  EXPECT_EQ(shown[0].tokens[0].id, 'a' + 1);
}

TEST(DescribeTest, StatisticsCountRecordsRowsDroppedAndLengths) {
  const FakeTokenizer tokenizer;
  const auto text = small();
  const auto statistics = dataset_statistics(text, tokenize(text, tokenizer, {.max_length = 6}));
  EXPECT_EQ(statistics.n_records, 2);
  EXPECT_EQ(statistics.n_examples, 2);
  EXPECT_EQ(statistics.n_dropped, 1);
  EXPECT_EQ(statistics.length.max, 6);
  EXPECT_EQ(statistics.length.total, 11);
  EXPECT_EQ(statistics.target_length.total, 5);
  EXPECT_DOUBLE_EQ(statistics.label_share, 5.0 / 11.0);
  EXPECT_THAT(statistics.notes, ElementsAre("a note"));
}

TEST(DescribeTest, PercentilesAreNearestRank) {
  std::vector<int64_t> lengths;
  for (int64_t i = 100; i >= 1; --i) lengths.push_back(i);
  const auto summary = summarize_lengths(lengths);
  EXPECT_EQ(summary.p50, 50);
  EXPECT_EQ(summary.p95, 95);
  EXPECT_EQ(summary.max, 100);
  EXPECT_EQ(summarize_lengths({7}).p50, 7);
  EXPECT_EQ(summarize_lengths({}).max, 0);
}

TEST(DescribeTest, TheHistogramCountsEveryLengthOnce) {
  const auto bins = length_histogram({1, 1, 2, 5, 9, 10}, 5);
  ASSERT_EQ(bins.size(), 5U);
  EXPECT_EQ(bins[0].count, 3);
  EXPECT_EQ(bins[4].count, 2);
  EXPECT_THAT(histogram_lines(bins, 6),
              ElementsAre(" 1-2  3  ######", " 3-4  0  ", " 5-6  1  ##", " 7-8  0  ", "9-10  2  ####"));
  EXPECT_EQ(length_histogram({4, 4}, 12).size(), 1U);
  EXPECT_TRUE(length_histogram({}, 3).empty());
}

}  // namespace
}  // namespace mpeft::data
