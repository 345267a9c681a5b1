// A method that trains in two stages, as a user runs it: what it writes, and that a run stopped in either stage goes on
// as if it had never been stopped.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "e2e/programs.h"

namespace mpeft {
namespace {

namespace sfs = std::filesystem;
using nlohmann::json;
using test::kMpeft;
using test::kTrain;
using test::read;
using test::run;
using test::tiny_experiment;
using test::write;
using ::testing::HasSubstr;

std::string sd_lora_json(int warmup_steps) {
  return R"({"peft_type": "SD_LORA", "num_zero": {"state": 0, "channel": 0}, "num_freeze": {"state": 0.75, "channel": 0.9},
  "target_modules": ["A_log", "x_proj_B", "x_proj_C", "out_proj"], "proj_lora_r": 2, "num_warmup_it": )" +
         std::to_string(warmup_steps - 1) + "}";
}

std::string sd_lora_experiment(const test::TemporaryFolder& folder, int warmup_steps, const std::string& more = "") {
  write(folder / "sd.json", sd_lora_json(warmup_steps));
  return tiny_experiment(folder, "peft: " + (folder / "sd.json").string() + "\nsave_total_limit: 0\n" + more);
}

std::vector<json> metrics(const sfs::path& file) {
  std::vector<json> lines;
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line);) lines.push_back(json::parse(line));
  return lines;
}

// What two runs of the same experiment have in common when they took the same steps.
json comparable(const sfs::path& out) {
  json lines = json::array();
  for (const auto& line : metrics(out / "metrics.jsonl")) {
    lines.push_back({line.at("stage"), line.at("step"), line.at("epoch"), line.at("loss"), line.at("learning_rate")});
  }
  return lines;
}

void expect_same_result(const sfs::path& a, const sfs::path& b) {
  const auto config = [](const sfs::path& out) {
    auto object = json::parse(read(out / "adapter/adapter_config.json"));
    object.erase("base_model_name_or_path");  // the two lie in folders of their own
    return object;
  };
  EXPECT_EQ(config(a), config(b));
  EXPECT_EQ(read(a / "adapter/adapter_model.safetensors"), read(b / "adapter/adapter_model.safetensors"));
}

TEST(SdLoraProgram, TrainsInTwoRecordedStagesAndGoesOnFromEveryCheckpoint) {
  const test::TemporaryFolder folder;
  const std::string cfg = sd_lora_experiment(folder, 6);  // 5 steps an epoch, 2 epochs
  const auto whole = run(kTrain + " --cfg " + cfg);
  ASSERT_EQ(whole.exit_code, 0) << whole.output;
  EXPECT_THAT(whole.output, HasSubstr("SD_LORA stage 1 of 2 (warm-up, 6 steps)"));
  EXPECT_THAT(whole.output, HasSubstr("then stage 2 of 2"));
  EXPECT_THAT(whole.output, HasSubstr("SD_LORA stage 1 of 2 (warm-up) is done after 6 steps"));
  EXPECT_THAT(whole.output, HasSubstr("SD_LORA stage 2 of 2  epoch 2/2  step 16"));

  const sfs::path out = folder / "out";
  const auto lines = metrics(out / "metrics.jsonl");
  ASSERT_EQ(lines.size(), 16U);
  for (size_t i = 0; i < lines.size(); ++i) {
    EXPECT_EQ(lines[i].at("stage"), i < 6 ? 1 : 2);
    EXPECT_EQ(lines[i].at("step"), i + 1);
    // Both stages start at the full learning rate and go down over the ten steps of the training.
    const double done = static_cast<double>(i < 6 ? i : i - 6);
    EXPECT_NEAR(lines[i].at("learning_rate").get<double>(), 0.003 * (1 - done / 10), 1e-9);
  }
  // The second stage is a fresh start on the same data.
  EXPECT_EQ(lines[6].at("loss"), lines[0].at("loss"));
  const auto manifest = json::parse(read(out / "manifest.json"));
  EXPECT_EQ(manifest.at("stages").size(), 2U);
  EXPECT_EQ(manifest.at("stages")[0].at("name"), "warm-up");
  EXPECT_EQ(manifest.at("stages")[0].at("steps"), 6);
  EXPECT_EQ(manifest.at("trainable_parameters"), manifest.at("stages")[1].at("trainable_parameters"));
  const auto selection = json::parse(read(out / "adapter/adapter_config.json")).at("selection").at("layers");
  ASSERT_EQ(selection.size(), 2U);
  EXPECT_EQ(selection[0].at("channels").size(), 6U);  // 64 - round(0.9 * 64)
  EXPECT_EQ(selection[0].at("states")[0].size(), 4U);
  EXPECT_TRUE(
      json::parse(read(out / "checkpoint-6/adapter/adapter_config.json")).at("selection").at("layers").is_null());

  // Within stage 1, at its end, within stage 2.
  for (const int kept : {5, 6, 11}) {
    const test::TemporaryFolder again;
    const std::string cfg_again = sd_lora_experiment(again, 6);
    sfs::copy(out, again / "out", sfs::copy_options::recursive);
    sfs::remove_all(again / "out/adapter");
    for (const int step : {6, 11, 16}) {
      if (step > kept) sfs::remove_all(again / ("out/checkpoint-" + std::to_string(step)));
    }
    auto unfinished = manifest;
    unfinished["finished"] = false;
    write(again / "out/manifest.json", unfinished.dump());
    const auto resumed = run(kTrain + " --resume --cfg " + cfg_again);
    ASSERT_EQ(resumed.exit_code, 0) << resumed.output;
    EXPECT_THAT(resumed.output, HasSubstr("checkpoint-" + std::to_string(kept) + " (SD_LORA stage " +
                                          (kept > 6 ? "2 of 2" : "1 of 2 (warm-up)")));
    expect_same_result(out, again / "out");
    EXPECT_EQ(comparable(out), comparable(again / "out")) << "from step " << kept;
  }
}

struct Stop {
  const char* signal;
  int exit_code;
  const char* line;  // of metrics.jsonl: stop when it is there
};

TEST(SdLoraProgram, ARunStoppedInEitherStageGoesOnBitForBit) {
  const std::string settings = " --set num_epochs=15 --set batch_size=2 --set log_steps=10";  // 20 steps an epoch
  const test::TemporaryFolder whole;
  ASSERT_EQ(run(kTrain + " --cfg " + sd_lora_experiment(whole, 150) + settings).exit_code, 0);
  for (const auto& stop :
       {Stop{"KILL", 137, R"("stage":1,"step":[5-9]0)"}, Stop{"INT", 130, R"("stage":1,"step":[5-9]0)"},
        Stop{"KILL", 137, R"("stage":2,"step":2[0-9]0)"}, Stop{"INT", 130, R"("stage":2,"step":2[0-9]0)"}}) {
    const test::TemporaryFolder stopped;
    const std::string cfg = sd_lora_experiment(stopped, 150);
    const std::string file = (stopped / "out/metrics.jsonl").string();
    const auto ended =
        run(kTrain + " --cfg " + cfg + settings + " & pid=$!; until grep -qs '" + stop.line + "' " + file +
            " || ! kill -0 $pid 2>/dev/null; do sleep 0.05; done; kill -" + stop.signal + " $pid; wait $pid");
    ASSERT_EQ(ended.exit_code, stop.exit_code) << ended.output;
    EXPECT_FALSE(sfs::exists(stopped / "out/adapter"));
    const auto resumed = run(kTrain + " --resume --cfg " + cfg + settings);
    ASSERT_EQ(resumed.exit_code, 0) << resumed.output;
    EXPECT_THAT(resumed.output, HasSubstr("resuming from"));
    expect_same_result(whole / "out", stopped / "out");
  }
}

TEST(SdLoraProgram, AnotherAdapterIsNotContinued) {
  const test::TemporaryFolder folder;
  const std::string cfg = sd_lora_experiment(folder, 6);
  ASSERT_EQ(run(kTrain + " --cfg " + cfg).exit_code, 0);
  auto manifest = json::parse(read(folder / "out/manifest.json"));
  manifest["finished"] = false;
  write(folder / "out/manifest.json", manifest.dump());
  write(folder / "sd.json", sd_lora_json(7));
  const auto refused = run(kTrain + " --resume --cfg " + cfg);
  EXPECT_EQ(refused.exit_code, 3) << refused.output;
  EXPECT_THAT(refused.output, HasSubstr("was made with other settings"));
  const auto anew = run(kTrain + " --overwrite --cfg " + cfg);
  ASSERT_EQ(anew.exit_code, 0) << anew.output;
  EXPECT_EQ(metrics(folder / "out/metrics.jsonl").size(), 17U);
}

TEST(SdLoraProgram, AWarmUpLongerThanTheTrainingIsRefusedBeforeItStarts) {
  const test::TemporaryFolder folder;
  const std::string cfg = sd_lora_experiment(folder, 11);
  const auto refused = run(kTrain + " --cfg " + cfg);
  EXPECT_EQ(refused.exit_code, 2) << refused.output;
  EXPECT_THAT(refused.output, HasSubstr("the warm-up of 11 steps is longer than the 10 steps of the training"));
  EXPECT_FALSE(sfs::exists(folder / "out/manifest.json"));
  EXPECT_EQ(run(kTrain + " --debug --cfg " + cfg).exit_code, 0);  // cut: 4 steps of 16 examples
}

TEST(SdLoraProgram, IsEvaluatedInTheSecondStageAndMergesExactly) {
  const test::TemporaryFolder folder;
  ASSERT_EQ(run(kTrain + " --cfg " + tiny_experiment(folder) + " --output " + (folder / "base").string()).exit_code, 0);
  std::string text = read(sd_lora_experiment(folder, 6));
  text.replace(text.find("skip_eval: true"), 15,
               "eval_before_training: true\neval_gen: {num_beams: 1, max_new_tokens: 8}");
  text.replace(text.find("val_slice"), 9, "metrics: [bleu], val_slice");
  write(folder / "x.yaml", text);
  const std::string base = (folder / "base/model").string(), out = (folder / "out").string();
  const auto trained = run(kTrain + " --cfg " + (folder / "x.yaml").string() + " --model " + base);
  ASSERT_EQ(trained.exit_code, 0) << trained.output;
  std::vector<int> evaluated;
  for (const auto& line : metrics(folder / "out/metrics.jsonl")) {
    if (line.at("kind") == "eval") evaluated.push_back(line.at("step").get<int>());
  }
  EXPECT_EQ(evaluated, (std::vector<int>{0, 11, 16}));

  const auto merged = run(kMpeft + " merge --model " + base + " --adapter " + out + "/adapter --output " +
                          (folder / "merged").string());
  ASSERT_EQ(merged.exit_code, 0) << merged.output;
  const std::string prompt = "echo '\"Ada : likes : rice###\"' | ",
                    options = " --device cpu --prec fp32 --max-new-tokens 8 2>/dev/null";
  const auto a = run(prompt + kMpeft + " generate --model " + base + " --adapter " + out + "/adapter" + options);
  const auto b = run(prompt + kMpeft + " generate --model " + (folder / "merged").string() + options);
  ASSERT_EQ(a.exit_code, 0) << a.output;
  EXPECT_EQ(json::parse(a.output).at("ids"), json::parse(b.output).at("ids"));
}

TEST(MpeftProgram, CountsTheLastStage) {
  const auto counted = run(kMpeft + " params --json --model 130m --peft cfg/peft/sd_lora/500it/n0.75_d0.99.json");
  ASSERT_EQ(counted.exit_code, 0) << counted.output;
  const auto object = json::parse(counted.output);
  EXPECT_EQ(object.at("trainable"), 455328);
  EXPECT_EQ(object.at("stages")[0].at("trainable"), 24 * 1536 * 16 + 442368);
}

}  // namespace
}  // namespace mpeft
