#include "mpeft/eval/generate.h"

#include <algorithm>
#include <cmath>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"

#include "unit/eval/tiny_model.h"

namespace mpeft::eval {
namespace {

using Prompts = std::vector<std::vector<text::TokenId>>;

nlohmann::json golden_cases() {
  return nlohmann::json::parse(fs::read_file(MPEFT_TEST_GOLDEN_DIR "/eval/generate.json")).at("cases");
}

GenerateOptions options_of(const nlohmann::json& object) {
  GenerateOptions options;
  options.max_new_tokens = object.at("max_new_tokens");
  options.min_new_tokens = object.at("min_new_tokens");
  options.num_beams = object.at("num_beams");
  options.length_penalty = object.at("length_penalty");
  options.early_stopping = object.at("early_stopping");
  if (!object.at("eos_id").is_null()) options.eos_id = object.at("eos_id").get<text::TokenId>();
  return options;
}

Prompts prompts_of(const nlohmann::json& object) {
  Prompts prompts;
  for (const auto& item : object.at("prompts")) prompts.push_back(item.at("prompt"));
  return prompts;
}

class GenerateGolden : public testing::TestWithParam<int64_t> {};

TEST_P(GenerateGolden, EqualsTransformersForEveryOption) {
  auto model = decoding_model();
  int64_t n_compared = 0;
  for (const auto& object : golden_cases()) {
    SCOPED_TRACE(object.at("options").dump());
    auto options = options_of(object.at("options"));
    options.batch_size = GetParam();
    const auto generations = generate(model, prompts_of(object), options);
    for (size_t i = 0; i < generations.size(); ++i, ++n_compared) {
      const auto& expected = object.at("prompts")[i];
      EXPECT_EQ(generations[i].ids, expected.at("ids").get<std::vector<text::TokenId>>()) << "prompt " << i;
      EXPECT_NEAR(generations[i].score, expected.at("score").get<double>(), 2e-5) << "prompt " << i;
    }
  }
  EXPECT_GE(n_compared, 90);
}

INSTANTIATE_TEST_SUITE_P(BatchSize, GenerateGolden, testing::Values(1, 4, 100), testing::PrintToStringParamName());

Prompts some_prompts() { return prompts_of(golden_cases().front()); }

GenerateOptions sampling(int64_t batch_size) {
  GenerateOptions options;
  options.do_sample = true;
  options.max_new_tokens = 20;
  options.filter = {1.3, 30, 0.95};
  options.eos_id = 5;
  options.batch_size = batch_size;
  return options;
}

TEST(SamplingTest, DoesNotDependOnTheBatchSize) {
  auto model = decoding_model();
  const auto one_by_one = generate(model, some_prompts(), sampling(1));
  for (const int64_t batch_size : {3, 100}) {
    const auto batched = generate(model, some_prompts(), sampling(batch_size));
    for (size_t i = 0; i < batched.size(); ++i) EXPECT_EQ(batched[i].ids, one_by_one[i].ids) << "prompt " << i;
  }
}

TEST(SamplingTest, RepeatsWithTheSeedAndDiffersWithAnother) {
  auto model = decoding_model();
  auto options = sampling(4);
  const auto first = generate(model, some_prompts(), options);
  const auto again = generate(model, some_prompts(), options);
  options.seed = 43;
  const auto other = generate(model, some_prompts(), options);
  bool differs = false;
  for (size_t i = 0; i < first.size(); ++i) {
    EXPECT_EQ(first[i].ids, again[i].ids);
    differs = differs || first[i].ids != other[i].ids;
  }
  EXPECT_TRUE(differs);
}

TEST(SamplingTest, DrawsEachTokenWithItsProbability) {
  auto model = decoding_model();
  GenerateOptions options;
  options.do_sample = true;
  options.max_new_tokens = 1;
  options.batch_size = 500;
  const int64_t n = 4000;
  const Prompts prompts(static_cast<size_t>(n), {3, 1, 4});
  std::map<text::TokenId, double> share;
  std::map<text::TokenId, double> probability;
  for (const auto& generation : generate(model, prompts, options)) {
    share[generation.ids.at(0)] += 1.0 / static_cast<double>(n);
    probability[generation.ids.at(0)] = std::exp(generation.score);
  }
  EXPECT_GT(share.size(), 5U);
  for (const auto& [id, p] : probability) {
    // Five standard deviations of a binomial share.
    EXPECT_NEAR(share[id], p, 5 * std::sqrt(p * (1 - p) / static_cast<double>(n)) + 1e-3) << "id " << id;
  }
}

TEST(SamplingTest, TopKOneIsGreedy) {
  auto model = decoding_model();
  auto options = sampling(4);
  options.filter = {1.0, 1, 1.0};
  const auto sampled = generate(model, some_prompts(), options);
  options.do_sample = false;
  const auto greedy = generate(model, some_prompts(), options);
  for (size_t i = 0; i < greedy.size(); ++i) EXPECT_EQ(sampled[i].ids, greedy[i].ids);
}

TEST(GenerateTest, NeverChoosesIdsThatPadTheVocabulary) {
  auto model = decoding_model();
  for (const int64_t num_beams : {1, 3}) {
    for (const bool do_sample : {false, true}) {
      if (do_sample && num_beams > 1) continue;
      auto options = sampling(8);
      options.do_sample = do_sample;
      options.num_beams = num_beams;
      options.n_valid_tokens = 8;
      options.eos_id = 5;
      for (const auto& generation : generate(model, some_prompts(), options)) {
        EXPECT_THAT(generation.ids, testing::Each(testing::AllOf(testing::Ge(0), testing::Lt(8))));
        EXPECT_FALSE(std::isnan(generation.score));
      }
    }
  }
}

TEST(GenerateTest, ReportsProgressAndLeavesTheModelsModeAlone) {
  auto model = decoding_model();
  model->train();
  GenerateOptions options;
  options.max_new_tokens = 4;
  options.batch_size = 3;
  std::vector<int64_t> done;
  int64_t last_tokens = 0;
  const auto prompts = some_prompts();
  generate(model, prompts, options, [&](int64_t n_done, int64_t n_prompts, int64_t n_tokens) {
    EXPECT_EQ(n_prompts, static_cast<int64_t>(prompts.size()));
    done.push_back(n_done);
    last_tokens = n_tokens;
  });
  EXPECT_TRUE(std::is_sorted(done.begin(), done.end()));
  EXPECT_EQ(done.back(), static_cast<int64_t>(prompts.size()));
  EXPECT_EQ(last_tokens, 4 * static_cast<int64_t>(prompts.size()));
  EXPECT_TRUE(model->is_training());
}

TEST(GenerateTest, NamesThePromptThatItCannotRead) {
  auto model = decoding_model();
  const auto message = [&](const Prompts& prompts) {
    try {
      generate(model, prompts, {});
    } catch (const DataError& e) {
      return std::string(e.what());
    }
    return std::string("nothing was thrown");
  };
  EXPECT_THAT(message({{1}, {}}), testing::HasSubstr("prompt 2: is empty"));
  EXPECT_THAT(message({{1, 53}}), testing::HasSubstr("prompt 1: token 2: id 53"));
  EXPECT_THAT(message({{-1}}), testing::HasSubstr("id -1"));
}

TEST(GenerateTest, ListsEveryImpossibleOption) {
  GenerateOptions options;
  options.max_new_tokens = 0;
  options.num_beams = 40;
  options.do_sample = true;
  options.eos_id = 99;
  options.filter.top_p = 0;
  try {
    validate(options, 53);
    FAIL() << "nothing was thrown";
  } catch (const ConfigError& e) {
    for (const char* key : {"max_new_tokens", "num_beams", "eos_id", "top_p", "too many for a vocabulary of 53"}) {
      EXPECT_THAT(e.what(), testing::HasSubstr(key));
    }
  }
}

TEST(GenerateTest, NothingToDoGivesNothing) {
  auto model = decoding_model();
  EXPECT_TRUE(generate(model, {}, {}).empty());
}

}  // namespace
}  // namespace mpeft::eval
