#include "mpeft/data/split.h"

#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "mpeft/core/fs.h"
#include "mpeft/core/strings.h"

namespace mpeft::data {
namespace {

// The golden file holds SHA-256 of the indices joined by commas.
std::string digest(const std::vector<int64_t>& indices) {
  std::vector<std::string> texts;
  for (const int64_t i : indices) texts.push_back(std::to_string(i));
  return fs::sha256(join(texts, ","));
}

nlohmann::json golden() { return nlohmann::json::parse(fs::read_file(MPEFT_TEST_GOLDEN_DIR "/data/splits.json")); }

TEST(SplitTest, NumpyPermutationsAreEqualIndexForIndex) {
  const auto cases = golden()["numpy"];
  ASSERT_GE(cases.size(), 10U);
  for (const auto& expected : cases) {
    const int64_t n = expected["n"];
    const uint64_t seed = expected["seed"];
    EXPECT_EQ(digest(numpy_permutation(n, seed)), expected["order_sha256"]) << n << " " << seed;
    const auto parts = numpy_train_test_split(n, 0.2, seed);
    EXPECT_EQ(static_cast<int64_t>(parts.test.size()), expected["n_test"]);
    EXPECT_EQ(digest(parts.train), expected["train_sha256"]) << n << " " << seed;
    EXPECT_EQ(digest(parts.test), expected["test_sha256"]) << n << " " << seed;
  }
}

TEST(SplitTest, PythonShufflesAreEqualIndexForIndex) {
  const auto cases = golden()["python"];
  ASSERT_GE(cases.size(), 10U);
  for (const auto& expected : cases) {
    const int64_t n = expected["n"];
    const uint64_t seed = expected["seed"];
    EXPECT_EQ(digest(python_shuffle(n, seed)), expected["order_sha256"]) << n << " " << seed;
    const auto parts = python_train_test_split(n, 0.8, seed);
    EXPECT_EQ(static_cast<int64_t>(parts.train.size()), expected["n_train"]);
    EXPECT_EQ(digest(parts.train), expected["train_sha256"]) << n << " " << seed;
    EXPECT_EQ(digest(parts.test), expected["test_sha256"]) << n << " " << seed;
  }
}

TEST(SplitTest, NothingSplitsIntoNothing) {
  EXPECT_TRUE(numpy_permutation(0, 1).empty());
  EXPECT_TRUE(python_shuffle(0, 1).empty());
  EXPECT_TRUE(numpy_train_test_split(0, 0.2, 1).train.empty());
}

}  // namespace
}  // namespace mpeft::data
