#include "mpeft/core/random.h"

#include <algorithm>
#include <numeric>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mpeft {
namespace {

// By the authors' C code in Python: state from SplitMix64 of 42, then xoshiro256++.
TEST(RandomTest, NumbersAreThoseOfXoshiro256PlusPlus) {
  Random random(42);
  const std::vector<uint64_t> numbers = {random.next(), random.next(), random.next(), random.next()};
  EXPECT_THAT(numbers, testing::ElementsAre(0xd0764d4f4476689fULL, 0x519e4174576f3791ULL, 0xfbe07cfb0c24ed8cULL,
                                            0xb37d9f600cd835b8ULL));
}

TEST(RandomTest, BoundedNumbersAreInRangeAndEven) {
  Random random(7);
  std::vector<int> counts(6);
  for (int i = 0; i < 60000; ++i) ++counts[random.below(6)];
  for (const int count : counts) EXPECT_NEAR(count, 10000, 400);  // four standard deviations are 365
  EXPECT_EQ(random.below(1), 0U);
  for (int i = 0; i < 1000; ++i) {
    const double u = random.uniform();
    EXPECT_GE(u, 0.0);
    EXPECT_LT(u, 1.0);
  }
}

TEST(RandomTest, APermutationHoldsEachIndexOnceAndHangsOnTheSeed) {
  auto order = permutation(1000, 3);
  EXPECT_EQ(order, permutation(1000, 3));
  EXPECT_NE(order, permutation(1000, 4));
  std::sort(order.begin(), order.end());
  std::vector<int64_t> all(1000);
  std::iota(all.begin(), all.end(), int64_t{0});
  EXPECT_EQ(order, all);
  EXPECT_TRUE(permutation(0, 1).empty());
}

TEST(RandomTest, SeedsOfPurposesAndIndicesDiffer) {
  std::set<uint64_t> seeds;
  for (const uint64_t seed : {0, 1, 42}) {
    for (const char* purpose : {"shuffle", "dropout", "init", ""}) {
      for (uint64_t index = 0; index < 50; ++index) seeds.insert(derive_seed(seed, purpose, index));
    }
  }
  EXPECT_EQ(seeds.size(), 600U);
  EXPECT_EQ(derive_seed(42, "shuffle", 1), derive_seed(42, "shuffle", 1));
}

}  // namespace
}  // namespace mpeft
