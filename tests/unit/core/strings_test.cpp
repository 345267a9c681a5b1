#include "mpeft/core/strings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mpeft {
namespace {

using testing::ElementsAre;

TEST(StringsTest, SplitKeepsEmptyPiecesAndJoinUndoesIt) {
  EXPECT_THAT(split("a,,b,", ','), ElementsAre("a", "", "b", ""));
  EXPECT_THAT(split("", ','), ElementsAre(""));
  EXPECT_EQ(join(split("a,,b,", ','), ","), "a,,b,");
  EXPECT_EQ(join({}, ","), "");
}

TEST(StringsTest, TrimAndLowerTouchAsciiOnly) {
  EXPECT_EQ(trim(" \t a b\r\n"), "a b");
  EXPECT_EQ(trim(" \n"), "");
  EXPECT_EQ(to_lower("AbÉ9"), "abÉ9");
}

TEST(StringsTest, EditDistanceCountsASwapOfNeighboursOnce) {
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3);
  EXPECT_EQ(edit_distance("rnak", "rank"), 1);
  EXPECT_EQ(edit_distance("", "abc"), 3);
  EXPECT_EQ(edit_distance("ca", "abc"), 3) << "optimal string alignment: a swapped pair is not edited again";
}

TEST(StringsTest, SuggestionsAreNearOrAbsent) {
  const std::vector<std::string> keys = {"learning_rate", "batch_size", "seed"};
  EXPECT_EQ(nearest("lerning_rate", keys), "learning_rate");
  EXPECT_EQ(nearest("zzzzzzzz", keys), "");
  EXPECT_EQ(did_you_mean("sed", keys), " (did you mean 'seed'?)");
  EXPECT_EQ(did_you_mean("qqqqqq", keys), "");
  EXPECT_EQ(nearest("x", {}), "");
  EXPECT_EQ(nearest("b", {"a", "c"}), "") << "another letter is another name";
  EXPECT_EQ(nearest("q", {"a", "qq"}), "qq");
}

TEST(StringsTest, NumbersForPeople) {
  EXPECT_EQ(with_thousands(0), "0");
  EXPECT_EQ(with_thousands(999), "999");
  EXPECT_EQ(with_thousands(-1234567), "-1,234,567");
  EXPECT_EQ(human_bytes(512), "512 B");
  EXPECT_EQ(human_bytes(uint64_t{3} << 30), "3.0 GiB");
  EXPECT_EQ(human_duration(0.82), "820 ms");
  EXPECT_EQ(human_duration(85), "1 min 25 s");
  EXPECT_EQ(human_duration(7800), "2 h 10 min");
  EXPECT_EQ(human_duration(-1), "?");
  EXPECT_EQ(fixed(1.005, 1), "1.0");
}

// The examples of Unicode 15, section 3.9, tables 3-8 to 3-11.
TEST(StringsTest, IllFormedUtf8BecomesOneReplacementForEachMaximalPart) {
  const std::string r = "\xEF\xBF\xBD";
  EXPECT_EQ(to_valid_utf8("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"), r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(to_valid_utf8("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41"), r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(to_valid_utf8("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42"), r + r + r + r + r + "A" + r + r + "B");
  EXPECT_EQ(to_valid_utf8("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"), r + r + r + r + "A");
  EXPECT_EQ(to_valid_utf8("é€😀"), "é€😀");
  EXPECT_TRUE(is_valid_utf8("é€😀"));
  EXPECT_FALSE(is_valid_utf8("\xE2\x82"));
  EXPECT_TRUE(is_valid_utf8(to_valid_utf8("\xF0\x9F\x98")));
}

}  // namespace
}  // namespace mpeft
