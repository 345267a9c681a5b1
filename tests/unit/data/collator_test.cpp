#include "mpeft/data/collator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mpeft::data {
namespace {

using testing::ElementsAre;

constexpr int64_t kI = kIgnoreLabel;

TEST(CollatorTest, LabelsAreShiftedAndPromptAndPaddingCarryNoLoss) {
  const Example shorter{{5, 6, 7, 0}, 2, {}, 0};       // prompt 5 6, target 7 and the end token 0
  const Example longer{{1, 2, 3, 4, 8, 0}, 3, {}, 0};  // prompt 1 2 3
  const Batch batch = collate({&shorter, &longer}, 0);
  EXPECT_EQ(batch.rows, 2);
  EXPECT_EQ(batch.seqlen, 6);
  EXPECT_THAT(batch.ids, ElementsAre(5, 6, 7, 0, 0, 0, 1, 2, 3, 4, 8, 0));
  EXPECT_THAT(batch.labels, ElementsAre(kI, 7, 0, kI, kI, kI, kI, kI, 4, 8, 0, kI));
  EXPECT_THAT(batch.lengths, ElementsAre(4, 6));
  EXPECT_EQ(batch.n_tokens(), 10);
  EXPECT_EQ(batch.n_labels(), 5);
}

TEST(CollatorTest, AnEndTokenInsideThePromptIsNoPadding) {
  const Example example{{0, 0, 3, 0}, 2, {}, 0};
  const Batch batch = collate({&example}, 0);
  EXPECT_THAT(batch.labels, ElementsAre(kI, 3, 0, kI));
  EXPECT_THAT(batch.lengths, ElementsAre(4));
}

TEST(CollatorTest, ATargetWithoutPromptLearnsAllButItsFirstToken) {
  const Example example{{4, 5, 0}, 0, {}, 0};
  EXPECT_THAT(collate({&example}, 9).labels, ElementsAre(5, 0, kI));
}

TEST(CollatorTest, PaddingDoesNotDependOnTheOtherRows) {
  const Example a{{5, 6, 7, 0}, 2, {}, 0}, b{{1, 2, 3, 4, 8, 0}, 3, {}, 0};
  const Batch alone = collate({&a}, 0), together = collate({&a, &b}, 0);
  EXPECT_TRUE(std::equal(alone.labels.begin(), alone.labels.end(), together.labels.begin()));
}

TEST(CollatorTest, NoRowsAndEmptyRowsAreOurOwnMistake) {
  const Example empty;
  EXPECT_THROW(collate({}, 0), std::logic_error);
  EXPECT_THROW(collate({&empty}, 0), std::logic_error);
}

}  // namespace
}  // namespace mpeft::data
