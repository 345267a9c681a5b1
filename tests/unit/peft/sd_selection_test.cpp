#include "peft/sd_selection.h"

#include <array>
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mpeft/core/error.h"
#include "mpeft/core/random.h"

namespace mpeft::peft {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// The definition, by counting: an index is chosen when fewer than n others come before it, and others come before it
// that score higher, or equal with a lower index.
std::vector<int64_t> counted_highest(const std::vector<double>& scores, int64_t n) {
  std::vector<int64_t> chosen;
  for (size_t i = 0; i < scores.size(); ++i) {
    int64_t before = 0;
    for (size_t j = 0; j < scores.size(); ++j) before += scores[j] > scores[i] || (scores[j] == scores[i] && j < i);
    if (before < n) chosen.push_back(static_cast<int64_t>(i));
  }
  return chosen;
}

// A (d_inner, d_state) matrix with many equal values.
at::Tensor coarse_values(int64_t d_inner, int64_t d_state, uint64_t seed, uint64_t n_values) {
  Random random(seed);
  at::Tensor values = at::empty({d_inner, d_state});
  float* v = values.mutable_data_ptr<float>();
  for (int64_t i = 0; i < values.numel(); ++i) v[i] = 0.01F * (static_cast<float>(random.below(n_values)) - 3.0F);
  return values;
}

TEST(SdSelectionTest, EqualsTheDefinitionWithTiesAndOddSizes) {
  for (const auto& [d_inner, d_state, n_channels, n_states] : std::vector<std::array<int64_t, 4>>{
           {1, 1, 1, 1}, {37, 5, 7, 2}, {48, 16, 1, 1}, {51, 3, 51, 3}, {129, 8, 13, 7}}) {
    for (const uint64_t n_values : {1U, 4U, 1000U}) {
      const at::Tensor delta = coarse_values(d_inner, d_state, 17 + n_values, n_values);
      const auto selection = select_entries(a_log_delta_scores(delta), n_channels, n_states, "test");

      std::vector<double> channel_scores;
      for (int64_t d = 0; d < d_inner; ++d) {
        double sum = 0;
        for (int64_t n = 0; n < d_state; ++n) sum += std::pow(delta[d][n].item<double>(), 2);
        channel_scores.push_back(sum);
      }
      const auto channels = counted_highest(channel_scores, n_channels);
      EXPECT_EQ(selection.channels, channels);
      ASSERT_EQ(selection.states.size(), channels.size());
      for (size_t c = 0; c < channels.size(); ++c) {
        std::vector<double> state_scores;
        for (int64_t n = 0; n < d_state; ++n) state_scores.push_back(std::pow(delta[channels[c]][n].item<double>(), 2));
        EXPECT_EQ(selection.states[c], counted_highest(state_scores, n_states));
      }
    }
  }
}

TEST(SdSelectionTest, EqualScoresKeepTheLowestIndices) {
  const auto selection = select_entries(a_log_delta_scores(at::zeros({9, 4})), 3, 2, "test");
  EXPECT_THAT(selection.channels, ElementsAre(0, 1, 2));
  for (const auto& states : selection.states) EXPECT_THAT(states, ElementsAre(0, 1));
}

TEST(SdSelectionTest, ABarScoresAreTheChangeOfTheDiscretisedMatrix) {
  const at::Tensor before = coarse_values(11, 5, 1, 50), after = before + coarse_values(11, 5, 2, 9);
  const at::Tensor bias_before = at::linspace(-4, 1, 11), bias = bias_before + 0.01;
  const auto scores = abar_delta_scores(before, bias_before, after, bias);
  for (int64_t d = 0; d < 11; ++d) {
    double norm_before = 0, norm_after = 0;
    for (int64_t n = 0; n < 5; ++n) {
      const auto abar = [&](const at::Tensor& A_log, const at::Tensor& b) {
        return std::exp(-std::log1p(std::exp(b[d].item<double>())) * std::exp(A_log[d][n].item<double>()));
      };
      const double a = abar(before, bias_before), b = abar(after, bias);
      norm_before += a * a;
      norm_after += b * b;
      EXPECT_NEAR(scores.state[d][n].item<double>(), std::abs(b - a), 1e-14);
    }
    EXPECT_NEAR(scores.channel[d].item<double>(), std::abs(std::sqrt(norm_after) - std::sqrt(norm_before)), 1e-14);
  }
}

TEST(SdSelectionTest, TheTwoMeasuresPreferDifferentStates) {
  // The same step of A_log moves the discretised A more where A is large.
  at::Tensor A_log = at::log(at::arange(1, 17, at::kDouble)).repeat({4, 1}), delta = at::full({4, 16}, 0.01);
  delta[2][0] = 0.011;
  const at::Tensor bias = at::full({4}, -4.0);
  EXPECT_THAT(select_entries(a_log_delta_scores(delta), 1, 1, "test").states[0], ElementsAre(0));
  EXPECT_THAT(select_entries(abar_delta_scores(A_log, bias, A_log + delta, bias), 4, 1, "test").states[2],
              ElementsAre(15));
}

TEST(SdSelectionTest, NotFiniteScoresStopTheRun) {
  at::Tensor delta = at::zeros({6, 4});
  delta[3][1] = std::nan("");
  try {
    select_entries(a_log_delta_scores(delta), 2, 1, "SD_LORA: layer 5");
    FAIL();
  } catch (const TrainingStopped& e) {
    EXPECT_THAT(e.what(), HasSubstr("layer 5: A_log is not finite"));
  }
}

TEST(SdSelectionTest, CountsAreRoundedAsPythonRounds) {
  EXPECT_EQ(n_kept(0.99, true, 1536), 15);
  EXPECT_EQ(n_kept(0.99, true, 4096), 41);
  EXPECT_EQ(n_kept(0.99, true, 5120), 51);
  EXPECT_EQ(n_kept(0.75, true, 16), 4);
  EXPECT_EQ(n_kept(0.9, true, 16), 2);
  EXPECT_EQ(n_kept(0.95, true, 16), 1);
  EXPECT_EQ(n_kept(0.5, true, 5), 3);    // round(2.5) = 2
  EXPECT_EQ(n_kept(0.5, true, 7), 3);    // round(3.5) = 4
  EXPECT_EQ(n_kept(0.99, true, 48), 1);  // round(47.52) = 48: one is kept all the same
  EXPECT_EQ(n_kept(3, false, 16), 13);
  EXPECT_EQ(n_kept(0, false, 16), 16);
}

TEST(SdSelectionTest, IndexListsGoThroughJson) {
  auto first = select_entries(a_log_delta_scores(coarse_values(37, 8, 3, 7)), 5, 3, "test");
  auto second = select_entries(a_log_delta_scores(coarse_values(37, 8, 4, 7)), 5, 3, "test");
  first.layer = 0;
  second.layer = 1;
  const auto read = selection_from_json(json::parse(to_json({first, second}).dump()), {0, 1}, 37, 8, 5, 3, "test");
  ASSERT_EQ(read.size(), 2U);
  EXPECT_EQ(read[0], first);
  EXPECT_EQ(read[1], second);
}

struct BadLists {
  const char* name;
  const char* lists;
  const char* message;
};

class BadSelection : public ::testing::TestWithParam<BadLists> {};

// For one layer of 6 channels and 4 states, of which 2 and 2 are kept.
TEST_P(BadSelection, IsRefusedWithItsPlace) {
  try {
    selection_from_json(json::parse(GetParam().lists), {0}, 6, 4, 2, 2, "x.json: selection.layers");
    FAIL() << "was read";
  } catch (const ConfigError& e) {
    EXPECT_THAT(e.what(), HasSubstr("x.json: selection.layers"));
    EXPECT_THAT(e.what(), HasSubstr(GetParam().message));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Cases, BadSelection,
    ::testing::Values(
        BadLists{"no_list", "7", "expected the index lists of 1 layers, got number"},
        BadLists{"no_layers", "[]", "expected the index lists of 1 layers, got 0"},
        BadLists{"two_layers", "[{},{}]", "got 2"}, BadLists{"empty", "[{}]", "expected an object of"},
        BadLists{"other_layer", R"([{"layer": 1, "channels": [0, 1], "states": [[0, 1], [0, 1]]}])",
                 ".layer: expected 0"},
        BadLists{"extra_key", R"([{"layer": 0, "channels": [0, 1], "states": [[0, 1], [0, 1]], "x": 1}])",
                 "expected an object of"},
        BadLists{"few_channels", R"([{"layer": 0, "channels": [0], "states": [[0, 1]]}])",
                 ".channels: expected a list of 2 indices, got 1"},
        BadLists{"channel_too_high", R"([{"layer": 0, "channels": [0, 6], "states": [[0, 1], [0, 1]]}])",
                 "expected rising indices from 0 to 5, got 6 after 0"},
        BadLists{"negative", R"([{"layer": 0, "channels": [-1, 2], "states": [[0, 1], [0, 1]]}])", "got -1"},
        BadLists{"huge", R"([{"layer": 0, "channels": [18446744073709551615, 2], "states": [[0, 1], [0, 1]]}])",
                 "got 18446744073709551615"},
        BadLists{"fraction", R"([{"layer": 0, "channels": [0.5, 2], "states": [[0, 1], [0, 1]]}])", "got 0.5"},
        BadLists{"twice", R"([{"layer": 0, "channels": [2, 2], "states": [[0, 1], [0, 1]]}])", "got 2 after 2"},
        BadLists{"falling_states", R"([{"layer": 0, "channels": [1, 2], "states": [[1, 0], [0, 1]]}])",
                 ".states[0]: expected rising indices from 0 to 3, got 0 after 1"},
        BadLists{"states_of_one", R"([{"layer": 0, "channels": [1, 2], "states": [[0, 1]]}])",
                 ".states: expected a list for each of the 2 channels"},
        BadLists{"text", R"([{"layer": 0, "channels": ["1", 2], "states": [[0, 1], [0, 1]]}])", "got \"1\""}),
    [](const auto& test_case) { return std::string(test_case.param.name); });

}  // namespace
}  // namespace mpeft::peft
