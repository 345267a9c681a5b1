#include "mpeft/data/split.h"

#include <cstdlib>

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
    EXPECT_EQ(digest(numpy_permutation(n, seed)), expected["order_sha256"].get<std::string>()) << n << " " << seed;
    const auto parts = numpy_train_test_split(n, 0.2, seed);
    EXPECT_EQ(static_cast<int64_t>(parts.test.size()), expected["n_test"]);
    EXPECT_EQ(digest(parts.train), expected["train_sha256"].get<std::string>()) << n << " " << seed;
    EXPECT_EQ(digest(parts.test), expected["test_sha256"].get<std::string>()) << n << " " << seed;
  }
}

TEST(SplitTest, PythonShufflesAreEqualIndexForIndex) {
  const auto cases = golden()["python"];
  ASSERT_GE(cases.size(), 10U);
  for (const auto& expected : cases) {
    const int64_t n = expected["n"];
    const uint64_t seed = expected["seed"];
    EXPECT_EQ(digest(python_shuffle(n, seed)), expected["order_sha256"].get<std::string>()) << n << " " << seed;
    const auto parts = python_train_test_split(n, 0.8, seed);
    EXPECT_EQ(static_cast<int64_t>(parts.train.size()), expected["n_train"]);
    EXPECT_EQ(digest(parts.train), expected["train_sha256"].get<std::string>()) << n << " " << seed;
    EXPECT_EQ(digest(parts.test), expected["test_sha256"].get<std::string>()) << n << " " << seed;
  }
}

// The same of the file that others compare with too, where MPEFT_GOLDEN_ROOT says where it is.
TEST(SplitTest, TheSharedGoldenFileAgrees) {
  const char* root = std::getenv("MPEFT_GOLDEN_ROOT");
  if (root == nullptr) GTEST_SKIP() << "MPEFT_GOLDEN_ROOT is not set";
  const auto cases = nlohmann::json::parse(fs::read_file(std::string(root) + "/splits.json"));
  const auto expect_parts = [](const SplitIndices& parts, const nlohmann::json& expected) {
    EXPECT_EQ(digest(parts.train), expected.at("train_sha256")) << expected.at("name");
    EXPECT_EQ(digest(parts.test), expected.at("test_sha256")) << expected.at("name");
  };
  ASSERT_GE(cases.at("numpy").size(), 9U);
  for (const auto& expected : cases.at("numpy"))
    expect_parts(numpy_train_test_split(expected.at("n"), 0.2, expected.at("seed")), expected);
  ASSERT_GE(cases.at("python").size(), 2U);
  for (const auto& expected : cases.at("python"))
    expect_parts(python_train_test_split(expected.at("n"), 0.8, expected.at("seed")), expected);
  ASSERT_GE(cases.at("subset").size(), 3U);
  for (const auto& expected : cases.at("subset")) {
    auto order = python_shuffle(expected.at("n"), expected.at("seed"));
    order.resize(expected.at("k").get<size_t>());
    EXPECT_EQ(digest(order), expected.at("sha256")) << expected.at("n");
  }
}

TEST(SplitTest, NothingSplitsIntoNothing) {
  EXPECT_TRUE(numpy_permutation(0, 1).empty());
  EXPECT_TRUE(python_shuffle(0, 1).empty());
  EXPECT_TRUE(numpy_train_test_split(0, 0.2, 1).train.empty());
}

}  // namespace
}  // namespace mpeft::data
