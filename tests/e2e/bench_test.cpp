// `mpeft bench step`, `generate` and `loss` on a small model: what they print, and what they refuse.

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "e2e/programs.h"

namespace mpeft {
namespace {

using nlohmann::json;
using test::kMpeft;
using test::run;
using ::testing::HasSubstr;

const std::string kStep = kMpeft + " bench step --device cpu --model tiny --batch 2 --seqlen 24 --labels 5";
const std::string kOutProj = " cfg/peft/lora/r8/lora_outproj.json", kInProj = " cfg/peft/lora/r8/lora_inproj.json";

TEST(BenchProgram, StepsOfSeveralAdaptersAreOneTable) {
  const auto outcome = run(kStep + " --json --peft" + kOutProj + kInProj + " 2>/dev/null");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  const json rows = json::parse(outcome.output);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].at("relative"), 1.0);
  EXPECT_EQ(rows[0].at("labels"), 10);
  EXPECT_EQ(rows[0].at("peft"), kOutProj.substr(1));
  for (const auto& row : rows) {
    const double ms = row.at("ms").get<double>();
    EXPECT_GT(ms, 0.0);
    EXPECT_NEAR(row.at("tokens_per_s").get<double>(), 48e3 / ms, 1e-6 * 48e3 / ms);
    EXPECT_GT(row.at("peak_bytes").get<uint64_t>(), 1u << 20);
  }
  // r (in + out) for each of 2 layers: out_proj; in_proj_x and in_proj_z
  EXPECT_EQ(rows[0].at("trainable"), 2 * 8 * (128 + 64));
  EXPECT_EQ(rows[1].at("trainable"), 2 * 8 * 2 * (64 + 128));
}

TEST(BenchProgram, WithoutAnAdapterEverythingTrains) {
  const auto outcome = run(kStep);
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("full fine-tuning"));
  EXPECT_THAT(outcome.output, HasSubstr("tiny, batch 2 x 24 tokens, 10 of them labelled, fp32"));
}

TEST(BenchProgram, GenerateMeasuresEachNumberOfRows) {
  const auto outcome =
      run(kMpeft + " bench generate --device cpu --model tiny --rows 1,3 --prompt 6 --tokens 5 --json 2>/dev/null");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  const json rows = json::parse(outcome.output);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[1].at("rows"), 3);
  EXPECT_GT(rows[1].at("prompt_ms").get<double>(), 0.0);
}

TEST(BenchProgram, LossIsMeasuredWithAndWithoutItsGradient) {
  const auto outcome = run(kMpeft + " bench loss --device cpu --shape 2,700,8 --json 2>/dev/null");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  const json rows = json::parse(outcome.output);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].at("pass"), "inference");
  EXPECT_EQ(rows[1].at("pass"), "in place");
}

TEST(BenchProgram, SaysWhatIsWrong) {
  const auto expect_refused = [](const std::string& command, const std::string& text) {
    const auto outcome = run(command);
    EXPECT_EQ(outcome.exit_code, 2) << command << "\n" << outcome.output;
    EXPECT_THAT(outcome.output, HasSubstr(text));
  };
  expect_refused(kMpeft + " bench nonsense", "nonsense");
  expect_refused(kMpeft + " bench step --device cpu --model tiny --seqlen 1", "--seqlen of at least 2");
  expect_refused(kMpeft + " bench generate --device cpu --model tiny --tokens 1", "--tokens of at least 2");
}

}  // namespace
}  // namespace mpeft
