#include <functional>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "mpeft/core/error.h"
#include "mpeft/model/precision.h"
#include "mpeft/peft/adapter.h"
#include "mpeft/peft/staged_method.h"
#include "mpeft/peft/trainable_report.h"

#include "support/temporary_folder.h"
#include "support/tiny_model.h"

namespace mpeft::peft {
namespace {

using test::logits_of;
using test::some_ids;

using nlohmann::json;
using ::testing::HasSubstr;

constexpr const char* kTargets = R"("target_modules": ["A_log", "x_proj_B", "x_proj_C", "out_proj"], "proj_lora_r": 8)";

// As the reference writes it; `more` starts with a comma.
std::string sd_json(const std::string& state, const std::string& channel, const std::string& more = "") {
  return R"({"peft_type": "SD_LORA", "num_zero": {"state": 0, "channel": 0}, "num_freeze": {"state": )" + state +
         R"(, "channel": )" + channel + "}, " + kTargets + more + "}";
}

std::string message_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const ConfigError& e) {
    return e.what();
  }
  return "no error";
}

at::Tensor parameter_of(const PeftMethod& method, const std::string& name) {
  for (const auto& parameter : method.parameters()) {
    if (parameter.name == "base_model.model.backbone.layers." + name) return parameter.tensor;
  }
  throw std::out_of_range(name);
}

TEST(SdLoraTest, CountsEqualThePublishedBudgets) {
  struct Size {
    int64_t d_model, n_layer;
    double share, share_of_sdt;
  };
  for (const auto& [d_model, n_layer, share, share_of_sdt] :
       {Size{768, 24, 0.351, 0.010}, Size{2048, 48, 0.177, 0.005}, Size{2560, 64, 0.146, 0.004}}) {
    model::MambaConfig config;
    config.d_model = d_model;
    config.n_layer = n_layer;
    for (const auto& [state, expected] : {std::pair{"0.75", share}, {"0.9", share}, {"0.95", share}}) {
      model::MambaLM model(config), second(config);
      const auto warmup = make_peft_method(sd_json(state, "0.99"), "sd.json");
      warmup->inject_shapes(model);
      const auto kept = make_peft_method(next_stage_json(*warmup), "sd.json");
      kept->inject_shapes(second);
      const auto report = report_trainable(second);
      EXPECT_NEAR(100 * report.share(), expected, 0.0011) << d_model << " " << state;
      int64_t sdt = 0;
      for (const auto& row : report.trainable) sdt += row.name.find(".sdt.") != std::string::npos ? row.count : 0;
      if (state != std::string("0.75")) continue;
      EXPECT_NEAR(100.0 * static_cast<double>(sdt) / static_cast<double>(report.n_total), share_of_sdt, 0.0006);
      if (d_model == 768) {
        EXPECT_EQ(sdt, 12960);
        EXPECT_EQ(report.n_trainable, 455328);
      }
    }
  }
}

TEST(SdLoraTest, StagesSayWhatTheyAre) {
  const auto warmup = make_peft_method(sd_json("0.75", "0.99", R"(, "num_warmup_it": 248)"), "sd.json");
  EXPECT_EQ(stage_of(*warmup).number, 1);
  EXPECT_EQ(stage_of(*warmup).count, 2);
  EXPECT_EQ(stage_of(*warmup).name, "warm-up");
  EXPECT_EQ(stage_of(*warmup).steps, 249);  // the reference switches at forward call 250
  EXPECT_EQ(stage_of(*make_peft_method(sd_json("0.75", "0.99"), "sd.json")).steps, 500);
  auto model = test::make_tiny_model();
  warmup->inject(model, 1);
  const auto kept = make_peft_method(next_stage_json(*warmup), "sd.json");
  EXPECT_EQ(stage_of(*kept).number, 2);
  EXPECT_EQ(stage_of(*kept).count, 2);
}

TEST(SdLoraTest, WarmUpMovesALogAsAWholeAndSelectsWhatMovedMost) {
  auto model = test::make_tiny_model();  // d_inner 48, d_state 8
  const at::Tensor before = logits_of(model);
  const auto warmup = make_peft_method(sd_json("6", "46", R"(, "warmup": {"scope": "a_log", "steps": 3})"), "sd.json");
  warmup->inject(model, 7);
  EXPECT_TRUE(at::equal(before, logits_of(model)));
  {
    const torch::NoGradGuard no_grad;
    at::Tensor first = parameter_of(*warmup, "0.mixer.A_log.sdt_warmup"),
               second = parameter_of(*warmup, "1.mixer.A_log.sdt_warmup");
    EXPECT_EQ(first.sizes(), (std::vector<int64_t>{48, 8}));
    first[31][2] = -0.5;
    first[31][7] = 0.2;
    first[4][3] = 0.1;
    second[47][0] = 0.1;
    second[47][1] = -0.1;
    second[46][5] = 0.12;
  }
  EXPECT_FALSE(at::equal(before, logits_of(model)));
  const auto layers = json::parse(next_stage_json(*warmup)).at("selection").at("layers");
  EXPECT_EQ(layers.dump(), R"([{"channels":[4,31],"layer":0,"states":[[0,3],[2,7]]},)"
                           R"({"channels":[46,47],"layer":1,"states":[[0,5],[0,1]]}])");
}

TEST(SdLoraTest, KeptEntriesAreWrittenWhereTheListsSay) {
  auto model = test::make_tiny_model();
  const at::Tensor before = logits_of(model);
  const auto kept = make_peft_method(sd_json("6", "46",
                                             R"(, "selection": {"layers": [)"
                                             R"({"layer": 0, "channels": [4, 31], "states": [[0, 3], [2, 7]]},)"
                                             R"({"layer": 1, "channels": [46, 47], "states": [[0, 5], [0, 1]]}]})"),
                                     "sd.json");
  kept->inject(model, 7);
  EXPECT_TRUE(at::equal(before, logits_of(model)));
  auto expected = test::make_tiny_model();
  {
    const torch::NoGradGuard no_grad;
    parameter_of(*kept, "0.mixer.A_log.sdt_delta").copy_(at::tensor({0.1, 0.2, 0.3, 0.4}).view({2, 2}));
    parameter_of(*kept, "1.mixer.x_proj_C.sdt_delta").copy_(at::arange(16).view({8, 2}) * 0.01);
    auto& A_log = expected->backbone->layers[0]->mixer->A_log;
    A_log[4][0] += 0.1;
    A_log[4][3] += 0.2;
    A_log[31][2] += 0.3;
    A_log[31][7] += 0.4;
    auto& x_proj = expected->backbone->layers[1]->mixer->x_proj;
    const auto rows = x_proj->rows("x_proj_C");
    for (int64_t n = 0; n < 8; ++n) {
      x_proj->weight[rows.begin + n][46] += 0.02 * static_cast<double>(n);
      x_proj->weight[rows.begin + n][47] += 0.02 * static_cast<double>(n) + 0.01;
    }
  }
  EXPECT_TRUE(at::allclose(logits_of(model), logits_of(expected), 1e-5, 1e-6));
  kept->merge(model);
  EXPECT_TRUE(
      at::allclose(model->backbone->layers[0]->mixer->A_log, expected->backbone->layers[0]->mixer->A_log, 0, 0));
  EXPECT_TRUE(at::allclose(logits_of(model), logits_of(expected), 1e-6, 1e-7));
}

TEST(SdLoraTest, WarmUpOfThePaperTrainsTheWholeScanInPlace) {
  auto model = test::make_tiny_model();
  const auto warmup = make_peft_method(
      sd_json("6", "46", R"(, "warmup": {"scope": "ssm_full"}, "selection": {"metric": "abar_delta"})"), "sd.json");
  warmup->inject(model, 7);
  std::set<std::string> kinds;
  for (const auto& row : report_trainable(model).trainable) kinds.insert(row.name.substr(row.name.find("mixer.") + 6));
  EXPECT_EQ(kinds, (std::set<std::string>{"A_log", "D", "conv1d.weight", "conv1d.bias", "x_proj.weight",
                                          "dt_proj.weight", "dt_proj.bias"}));
  {
    const torch::NoGradGuard no_grad;
    for (auto& block : model->backbone->layers) {
      block->mixer->A_log[20][6] += 0.3;      // a step of A_log
      block->mixer->dt_proj->bias[9] += 2.0;  // and one of the step size, which moves the discretised A as well
    }
  }
  const auto next = json::parse(next_stage_json(*warmup));
  for (const auto& layer : next.at("selection").at("layers")) EXPECT_EQ(layer.at("channels").dump(), "[9,20]");
  auto fresh = test::make_tiny_model();
  make_peft_method(next.dump(), "sd.json")->inject(fresh, 7);
  EXPECT_EQ(report_trainable(fresh).trainable.size(), 2U * (3U + 2U));
}

TEST(SdLoraTest, TheSelectionIsPartOfTheSavedAdapter) {
  const test::TemporaryFolder folder;
  auto model = test::make_tiny_model(), again = test::make_tiny_model();
  const auto warmup = make_peft_method(sd_json("6", "46", R"(, "num_warmup_it": 9)"), "sd.json");
  warmup->inject(model, 7);
  save_adapter(*warmup, "some/base", folder / "warmup");
  EXPECT_EQ(stage_of(*load_adapter(again, folder / "warmup")).number, 1);

  auto fresh = test::make_tiny_model(), loaded = test::make_tiny_model();
  const auto kept = make_peft_method(next_stage_json(*warmup), "sd.json");
  kept->inject(fresh, 7);
  save_adapter(*kept, "some/base", folder / "kept");
  const auto read = load_adapter(loaded, folder / "kept");
  EXPECT_EQ(stage_of(*read).number, 2);
  EXPECT_EQ(read->config_json("some/base"), kept->config_json("some/base"));
  EXPECT_EQ(json::parse(read->config_json("x")).at("num_warmup_it"), 9);
}

TEST(SdLoraTest, TrainsBesideOthersInTheSameStages) {
  const std::string beside = R"({"peft_type": "LORA", "r": 2, "target_modules": ["in_proj_x"]})";
  const auto list = [&](const std::string& more) {
    return R"({"peft_type": "COMPOSITE", "adapters": [)" + beside + ", " + sd_json("6", "46") + more + "]}";
  };
  auto model = test::make_tiny_model(), fresh = test::make_tiny_model();
  const auto warmup = make_peft_method(list(""), "list.json");
  EXPECT_EQ(stage_of(*warmup).name, "warm-up");
  warmup->inject(model, 7);
  const auto kept = make_peft_method(next_stage_json(*warmup), "list.json");
  EXPECT_TRUE(stage_of(*kept).is_last());
  EXPECT_EQ(stage_of(*kept).number, 2);
  kept->inject(fresh, 7);
  EXPECT_EQ(report_trainable(fresh).trainable.size(), 2U * (2U + 3U + 2U));
  EXPECT_TRUE(at::equal(logits_of(model), logits_of(fresh)));  // neither has trained
  EXPECT_THAT(message_of([&] { make_peft_method(list(", " + sd_json("6", "46")), "list.json"); }),
              HasSubstr("trains in stages, and so does"));
}

struct BadConfig {
  const char* name;
  std::string text;
  const char* message;
};

class BadSdLora : public ::testing::TestWithParam<BadConfig> {};

TEST_P(BadSdLora, IsRefused) {
  auto model = test::make_tiny_model();
  const auto message = message_of([&] { make_peft_method(GetParam().text, "sd.json")->inject(model, 1); });
  EXPECT_THAT(message, HasSubstr("sd.json"));
  EXPECT_THAT(message, HasSubstr(GetParam().message));
}

std::string without_targets(const std::string& fields) {
  return R"({"peft_type": "SD_LORA", "num_freeze": {"state": 0.5, "channel": 0.5}, )" + fields + "}";
}

INSTANTIATE_TEST_SUITE_P(
    Cases, BadSdLora,
    ::testing::Values(
        BadConfig{"no_A_log", without_targets(R"("target_modules": ["x_proj_B"])"), "must name A_log"},
        BadConfig{"twice", without_targets(R"("target_modules": ["A_log", "x_proj_B", "x_proj_B"])"),
                  "'x_proj_B' stands there twice"},
        BadConfig{"no_rank", without_targets(R"("target_modules": ["A_log", "out_proj"])"),
                  "proj_lora_r: missing: the rank of LoRA on out_proj"},
        BadConfig{"target", without_targets(R"("target_modules": ["A_log", "out_prj"], "proj_lora_r": 2)"),
                  "did you mean 'out_proj'?"},
        BadConfig{"target_of_the_second_stage",
                  without_targets(
                      R"("target_modules": ["A_log", "out_prj"], "proj_lora_r": 2, "warmup": {"scope": "ssm_full"})"),
                  "did you mean 'out_proj'?"},
        BadConfig{
            "zero",
            R"({"peft_type": "SD_LORA", "num_zero": {"state": 0.5, "channel": 0}, "num_freeze": {"state": 0, "channel": 0}, "target_modules": ["A_log"]})",
            "num_zero: setting states or channels to zero"},
        BadConfig{"fraction_of_one", sd_json("1.0", "0.5"),
                  "num_freeze.state: expected a fraction in [0, 1) or a count"},
        BadConfig{"negative", sd_json("0.5", "-3"), "num_freeze.channel: expected"},
        BadConfig{"too_many_states", sd_json("8", "0.5"), "9, but the model has 8 states"},
        BadConfig{"too_many_channels", sd_json("0.5", "48"), "49, but the model has 48 channels"},
        BadConfig{"no_pair", R"({"peft_type": "SD_LORA", "num_freeze": 0.5, "target_modules": ["A_log"]})",
                  "num_freeze: expected {"},
        BadConfig{"nothing_says_how_many", R"({"peft_type": "SD_LORA", "target_modules": ["A_log"]})",
                  "keep_channels: missing"},
        BadConfig{"said_twice", sd_json("0.5", "0.5", R"(, "selection": {"keep_states": 2})"),
                  "selection: keep_states: num_freeze says it already"},
        BadConfig{
            "keeps_too_many",
            R"({"peft_type": "SD_LORA", "target_modules": ["A_log"], "selection": {"keep_states": 9, "keep_channels": 2}})",
            "selection.keep_states: 9, but the model has 8 states"},
        BadConfig{"metric", sd_json("0.5", "0.5", R"(, "selection": {"metric": "abar"})"),
                  "selection: metric: expected a_log_delta or abar_delta, got 'abar'"},
        BadConfig{"scope", sd_json("0.5", "0.5", R"(, "warmup": {"scope": "all"})"),
                  "warmup: scope: expected a_log or ssm_full"},
        BadConfig{"steps_twice", sd_json("0.5", "0.5", R"(, "num_warmup_it": 3, "warmup": {"steps": 4})"),
                  "warmup: steps: num_warmup_it says it already"},
        BadConfig{"no_steps", sd_json("0.5", "0.5", R"(, "warmup": {"steps": 0})"),
                  "warmup: steps: expected an integer in [1,"},
        BadConfig{"section", sd_json("0.5", "0.5", R"(, "warmup": 3)"), "warmup: expected an object, got 3"},
        BadConfig{"unknown", sd_json("0.5", "0.5", R"(, "num_warm_it": 3)"), "did you mean 'num_warmup_it'?"},
        BadConfig{"unknown_below", sd_json("0.5", "0.5", R"(, "selection": {"keep_state": 3})"),
                  "selection: keep_state: unknown field"},
        BadConfig{"reference_field_with_effect", sd_json("0.5", "0.5", R"(, "sdlora_alpha": {"global": 2})"),
                  "sdlora_alpha: this value is not supported"},
        BadConfig{
            "lists",
            sd_json(
                "6", "46",
                R"(, "selection": {"layers": [{"layer": 0, "channels": [4, 99], "states": [[0, 3], [2, 7]]}, {}]})"),
            "selection.layers[0].channels: expected rising indices from 0 to 47, got 99 after 4"}),
    [](const auto& test_case) { return std::string(test_case.param.name); });

TEST(SdLoraTest, AllProblemsAreShownAtOnce) {
  const auto message = message_of([] {
    make_peft_method(sd_json("2.5", "0.5", R"(, "warmup": {"scope": "x"}, "selection": {"metric": "y"}, "z": 1)"),
                     "sd.json");
  });
  for (const char* part : {"num_freeze.state", "warmup: scope", "selection: metric", "z: unknown field"}) {
    EXPECT_THAT(message, HasSubstr(part));
  }
}

}  // namespace
}  // namespace mpeft::peft
