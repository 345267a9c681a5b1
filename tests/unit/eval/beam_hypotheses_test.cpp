#include "eval/beam_hypotheses.h"

#include <gtest/gtest.h>

namespace mpeft::eval {
namespace {

constexpr text::TokenId kEos = 0;

GenerateOptions beams(int64_t n) {
  GenerateOptions options;
  options.num_beams = n;
  options.max_new_tokens = 5;
  options.eos_id = kEos;
  return options;
}

TEST(BeamHypothesesTest, StartsWithOneBeamAndGoesOnWithTheLikeliest) {
  const auto options = beams(2);
  BeamHypotheses search(options);
  ASSERT_EQ(search.running().size(), 1U);
  search.step({{-1.0F, 0, 7}, {-2.0F, 0, 8}, {-3.0F, 0, 9}, {-4.0F, 0, 10}});
  ASSERT_EQ(search.running().size(), 2U);
  EXPECT_EQ(search.running()[0].ids, (std::vector<text::TokenId>{7}));
  EXPECT_EQ(search.running()[1].ids, (std::vector<text::TokenId>{8}));
  search.step({{-1.5F, 1, 3}, {-2.5F, 1, 4}, {-3.5F, 0, 5}, {-4.5F, 0, 6}});
  EXPECT_EQ(search.n_parents(), 2);
  EXPECT_EQ(search.running()[0].ids, (std::vector<text::TokenId>{8, 3}));
  EXPECT_EQ(search.running()[1].parent, 1);
  EXPECT_FALSE(search.is_done());
}

TEST(BeamHypothesesTest, DropsATextThatEndsBelowTheBeamWidth) {
  const auto options = beams(2);
  BeamHypotheses search(options);
  search.step({{-1.0F, 0, 7}, {-2.0F, 0, 8}, {-2.1F, 0, kEos}, {-4.0F, 0, 10}});
  // Had the third candidate been kept, a second finished text now would end the search.
  search.step({{-1.1F, 0, kEos}, {-30.0F, 0, 4}, {-40.0F, 0, 5}, {-45.0F, 0, 6}});
  EXPECT_FALSE(search.is_done());
}

TEST(BeamHypothesesTest, EndsWhenNoRunningBeamBeatsTheWorstFinishedText) {
  const auto options = beams(2);
  BeamHypotheses search(options);
  search.step({{-1.0F, 0, kEos}, {-1.1F, 0, kEos}, {-1.2F, 0, 5}, {-9.0F, 0, 6}});
  EXPECT_TRUE(search.is_done());  // -1.2 / 1 is below -1.1
  EXPECT_EQ(search.best().ids, (std::vector<text::TokenId>{kEos}));
  EXPECT_FLOAT_EQ(static_cast<float>(search.best().score), -1.0F);
}

TEST(BeamHypothesesTest, GoesOnWhileALongerTextMayScoreBetter) {
  auto options = beams(2);
  BeamHypotheses search(options);
  search.step({{-3.0F, 0, kEos}, {-3.05F, 0, 6}, {-3.2F, 0, 5}, {-9.0F, 0, 8}});
  search.step({{-3.1F, 0, kEos}, {-3.15F, 0, 4}, {-5.0F, 1, 5}, {-9.0F, 1, 8}});
  // Finished: -3 / 1 and -3.1 / 2; running: -3.15 / 2, better than the worst.
  EXPECT_FALSE(search.is_done());
  EXPECT_FLOAT_EQ(static_cast<float>(search.best().score), -1.55F);

  options.early_stopping = true;
  BeamHypotheses impatient(options);
  impatient.step({{-3.0F, 0, kEos}, {-3.05F, 0, 6}, {-3.2F, 0, 5}, {-9.0F, 0, 8}});
  impatient.step({{-3.1F, 0, kEos}, {-3.15F, 0, 4}, {-5.0F, 1, 5}, {-9.0F, 1, 8}});
  EXPECT_TRUE(impatient.is_done());
}

TEST(BeamHypothesesTest, TakesUnfinishedTextsAtTheLastStep) {
  auto options = beams(2);
  options.max_new_tokens = 1;
  BeamHypotheses search(options);
  search.step({{-1.0F, 0, 7}, {-2.0F, 0, kEos}, {-3.0F, 0, 9}, {-4.0F, 0, 10}});
  EXPECT_TRUE(search.is_done());
  EXPECT_EQ(search.best().ids, (std::vector<text::TokenId>{7}));
}

TEST(BeamHypothesesTest, DividesByTheLengthToThePenalty) {
  auto options = beams(2);
  options.length_penalty = 2.0;
  BeamHypotheses search(options);
  search.step({{-1.0F, 0, 7}, {-2.0F, 0, 8}, {-3.0F, 0, 9}, {-4.0F, 0, 10}});
  search.step({{-6.0F, 0, kEos}, {-7.0F, 0, 4}, {-8.0F, 0, 5}, {-9.0F, 0, 6}});
  EXPECT_FLOAT_EQ(static_cast<float>(search.best().score), -1.5F);
}

}  // namespace
}  // namespace mpeft::eval
