#include "mpeft/eval/token_filter.h"

#include <cmath>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "mpeft/checkpoint/safetensors.h"
#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"

namespace mpeft::eval {
namespace {

TEST(TokenFilterTest, EqualsHuggingFacesWarpers) {
  const auto golden = checkpoint::read_safetensors(MPEFT_TEST_GOLDEN_DIR "/eval/filters.safetensors");
  const auto configurations = nlohmann::json::parse(fs::read_file(MPEFT_TEST_GOLDEN_DIR "/eval/filters.json"));
  ASSERT_FALSE(configurations.empty());
  for (size_t i = 0; i < configurations.size(); ++i) {
    SCOPED_TRACE(configurations[i].dump());
    TokenFilter filter;
    filter.temperature = configurations[i].value("temperature", 1.0);
    filter.top_k = configurations[i].value("top_k", 0);
    filter.top_p = configurations[i].value("top_p", 1.0);
    validate(filter);
    EXPECT_TRUE(filter_logits(golden.at("logits"), filter).equal(golden.at("filtered." + std::to_string(i))));
  }
}

TEST(TokenFilterTest, LeavesLogitsAloneByDefault) {
  const auto logits = checkpoint::read_safetensors(MPEFT_TEST_GOLDEN_DIR "/eval/filters.safetensors").at("logits");
  EXPECT_TRUE(filter_logits(logits, {}).equal(logits));
}

TEST(TokenFilterTest, RefusesImpossibleValues) {
  EXPECT_THROW(validate(TokenFilter{0.0, 0, 1.0}), ConfigError);
  EXPECT_THROW(validate(TokenFilter{std::nan(""), 0, 1.0}), ConfigError);
  EXPECT_THROW(validate(TokenFilter{1.0, -1, 1.0}), ConfigError);
  EXPECT_THROW(validate(TokenFilter{1.0, 0, 0.0}), ConfigError);
  EXPECT_THROW(validate(TokenFilter{1.0, 0, 1.5}), ConfigError);
}

}  // namespace
}  // namespace mpeft::eval
