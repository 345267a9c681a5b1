// Runs that end before their end: what is saved by then, what is said, and that --resume makes up for it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "e2e/programs.h"

namespace mpeft {
namespace {

using nlohmann::json;
using test::kTrain;
using test::Outcome;
using test::read;
using test::run;
using test::tiny_experiment;
using test::write;
using testing::HasSubstr;
using testing::Not;

namespace sfs = std::filesystem;

// Trains until a file of this pattern is there, then sends the signal; -m: a job of its own, which does not ignore
// SIGINT.
Outcome train_until(const std::string& pattern, const std::string& signal, const std::string& arguments) {
  return run("bash -m -c '" + kTrain + " " + arguments + " & until compgen -G \"" + pattern +
             "\" > /dev/null || ! kill -0 $!; do sleep 0.02; done; kill -" + signal + " $!; wait $!'");
}

std::vector<json> evaluations(const sfs::path& out) {
  std::vector<json> lines;
  std::ifstream stream(out / "metrics.jsonl");
  for (std::string line; std::getline(stream, line);) {
    const auto object = json::parse(line);
    if (object.at("kind") == "eval") lines.push_back({object.at("step"), object.at("metrics")});
  }
  return lines;
}

std::vector<std::string> checkpoints(const sfs::path& out) {
  std::vector<std::string> names;
  for (const auto& entry : sfs::directory_iterator(out)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("checkpoint-")) names.push_back(name);
  }
  return names;
}

// A run that a crash ended after its first epoch.
void take_back_the_second_epoch(const sfs::path& out) {
  auto manifest = json::parse(read(out / "manifest.json"));
  manifest["finished"] = false;
  write(out / "manifest.json", manifest.dump());
  sfs::remove_all(out / "model");
  sfs::remove_all(out / "checkpoint-10");
}

// 30 epochs of 20 steps.
constexpr const char* kLong = " --set num_epochs=30 --set batch_size=2 --set log_steps=20";

const std::string& long_run() {
  static const std::string model = [] {
    const test::TemporaryFolder folder;
    const auto outcome = run(kTrain + " --cfg " + tiny_experiment(folder) + kLong + " --set save_minutes=0");
    EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
    return read(folder / "out/model/model.safetensors");
  }();
  return model;
}

TEST(InterruptedRun, AClosedConnectionStopsItAfterACheckpoint) {
  const test::TemporaryFolder folder;
  const std::string arguments = "--cfg " + tiny_experiment(folder) + kLong;
  const auto ended = train_until((folder / "out/checkpoint-*").string(), "HUP", arguments);
  ASSERT_EQ(ended.exit_code, 130) << ended.output;
  EXPECT_THAT(ended.output, HasSubstr("stopping after this step; once more to end at once\n"));
  EXPECT_THAT(ended.output, HasSubstr("the run is saved: add --resume to go on"));
  const auto resumed = run(kTrain + " --resume " + arguments);
  ASSERT_EQ(resumed.exit_code, 0) << resumed.output;
  EXPECT_TRUE(read(folder / "out/model/model.safetensors") == long_run());
}

TEST(InterruptedRun, AKilledOneGoesOnFromWithinAnEpochBitForBit) {
  const test::TemporaryFolder folder;
  const std::string arguments = "--cfg " + tiny_experiment(folder) + kLong;
  const auto ended = train_until((folder / "out/checkpoint-*[1-9]").string(), "KILL",
                                 arguments + " --set save_minutes=0.000001 --set save_total_limit=1");
  ASSERT_EQ(ended.exit_code, 137) << ended.output;
  EXPECT_LE(checkpoints(folder / "out").size(), 2U) << "one, or two where the older was about to go";
  const auto resumed = run(kTrain + " --resume --set save_minutes=0 " + arguments);
  ASSERT_EQ(resumed.exit_code, 0) << resumed.output;
  EXPECT_THAT(resumed.output, HasSubstr("resuming from"));
  EXPECT_TRUE(read(folder / "out/model/model.safetensors") == long_run());
}

TEST(InterruptedRun, AnEvaluationStopsAtOnceAndIsMadeUpFor) {
  const std::string slow = " --set skip_eval=false --set eval_gen.max_length=300 --set data_options.val_slice.first=40";
  const test::TemporaryFolder folder;
  const std::string arguments = "--cfg " + tiny_experiment(folder) + slow;
  const auto ended = train_until((folder / "out/checkpoint-5").string(), "TERM", arguments);
  ASSERT_EQ(ended.exit_code, 130) << ended.output;
  EXPECT_THAT(ended.output,
              HasSubstr("interrupted during the evaluation after step 5; the run is saved: add --resume"));
  EXPECT_TRUE(evaluations(folder / "out").empty()) << ended.output;
  const auto resumed = run(kTrain + " --resume " + arguments);
  ASSERT_EQ(resumed.exit_code, 0) << resumed.output;
  const test::TemporaryFolder whole;
  ASSERT_EQ(run(kTrain + " --cfg " + tiny_experiment(whole) + slow).exit_code, 0);
  EXPECT_EQ(evaluations(folder / "out"), evaluations(whole / "out"));
}

TEST(InterruptedRun, DoesNotAdviseToGoOnFromWhatWasNotSaved) {
  const test::TemporaryFolder folder;
  const auto ended =  // each step is an epoch
      train_until((folder / "out/metrics.jsonl").string(), "INT",
                  "--cfg " + tiny_experiment(folder) + " --set no_save=true --set batch_size=40 --set num_epochs=9999");
  ASSERT_EQ(ended.exit_code, 130) << ended.output;
  EXPECT_THAT(ended.output, HasSubstr("nothing was saved (no_save)"));
  EXPECT_THAT(ended.output, Not(HasSubstr("--resume")));
}

TEST(StoppedRun, AFloorIsRememberedUntilItIsLowered) {
  const test::TemporaryFolder folder;
  const std::string cfg = tiny_experiment(folder, "eval_gen: {max_length: 4}\nmin_eval_metric_after_epoch: {1: 2}\n");
  const std::string evaluated = " --set skip_eval=false";
  const auto stopped = run(kTrain + " --cfg " + cfg + evaluated);
  EXPECT_EQ(stopped.exit_code, 4) << stopped.output;
  EXPECT_THAT(stopped.output, HasSubstr("after epoch 1, below the 2 that min_eval_metric_after_epoch asks for"));
  const auto resumed = run(kTrain + " --resume --cfg " + cfg + evaluated);
  EXPECT_EQ(resumed.exit_code, 4) << resumed.output;
  EXPECT_THAT(resumed.output, HasSubstr("after epoch 1, below the 2 that min_eval_metric_after_epoch asks for"));
  EXPECT_THAT(resumed.output, Not(HasSubstr("epoch 2/2")));
  const auto lowered =
      run(kTrain + " --resume --cfg " + cfg + evaluated + " --set 'min_eval_metric_after_epoch={1: -1}'");
  EXPECT_EQ(lowered.exit_code, 0) << lowered.output;
}

TEST(StoppedRun, AFloorHoldsForTheFirstEvaluationAfterItsEpoch) {
  const test::TemporaryFolder folder;
  const std::string cfg =
      tiny_experiment(folder, "eval_gen: {max_length: 4}\nmin_eval_metric_after_epoch: {1: 2}\neval_epochs: 2\n");
  const auto stopped = run(kTrain + " --cfg " + cfg + " --set skip_eval=false");
  EXPECT_EQ(stopped.exit_code, 4) << stopped.output;
  EXPECT_THAT(stopped.output, HasSubstr("after epoch 2, below the 2 that min_eval_metric_after_epoch asks for"));
}

TEST(StoppedRun, BrokenWeightsAreNeitherSavedNorTheResult) {
  const test::TemporaryFolder folder;
  const std::string diverging = " --set learning_rate=900 --set max_grad_norm=0";
  const auto ended = run(kTrain + " --cfg " + tiny_experiment(folder) + diverging);  // ten steps
  EXPECT_EQ(ended.exit_code, 4) << ended.output;
  EXPECT_THAT(ended.output, HasSubstr("no checkpoint is written while it is so"));
  EXPECT_THAT(ended.output, HasSubstr("step 10, the last: loss or gradient not finite for "));
  EXPECT_THAT(ended.output, Not(HasSubstr("is intact"))) << "there is none";
  EXPECT_THAT(ended.output, HasSubstr("try a smaller --set learning_rate"));
  EXPECT_TRUE(checkpoints(folder / "out").empty());
  EXPECT_FALSE(sfs::exists(folder / "out/model"));
  const auto unsaved =
      run(kTrain + " --overwrite --cfg " + tiny_experiment(folder) + diverging + " --set no_save=true");
  EXPECT_EQ(unsaved.exit_code, 4) << unsaved.output;
}

TEST(StoppedRun, TheLastCheckpointBeforeTheWeightsBrokeIsKept) {
  const test::TemporaryFolder folder;  // the learning rate rises until the loss is not finite, some 20 steps
  const auto ended = run(kTrain + " --cfg " + tiny_experiment(folder) +
                         " --set learning_rate=60 --set max_grad_norm=0 --set warmup_steps=90 --set num_epochs=20 "
                         "--set save_total_limit=1");
  EXPECT_EQ(ended.exit_code, 4) << ended.output;
  const auto kept = checkpoints(folder / "out");
  ASSERT_EQ(kept.size(), 1U);
  EXPECT_THAT(ended.output, HasSubstr("the last checkpoint is intact: " + (folder / "out" / kept[0]).string() + "\n"));
  const int64_t step = std::stoll(kept[0].substr(sizeof "checkpoint-" - 1));
  std::ifstream stream(folder / "out/metrics.jsonl");
  for (std::string text; std::getline(stream, text);) {
    const auto line = json::parse(text);
    if (line.at("step") > step + 1) break;
    EXPECT_TRUE(line.at("loss").is_number()) << text;
  }
}

TEST(StoppedRun, WhereAFileDoesNotFitItSaysWhatToDo) {
  const test::TemporaryFolder folder;
  const std::string limited = "trap \"\" XFSZ; ulimit -f 100; ";  // less than the optimizer's state
  const std::string cfg = tiny_experiment(folder);
  const auto first = run(limited + kTrain + " --cfg " + cfg);
  EXPECT_EQ(first.exit_code, 3) << first.output;
  EXPECT_THAT(first.output, HasSubstr("optimizer.safetensors: cannot be written: File too large\n  a checkpoint takes "
                                      "about 617"));
  EXPECT_THAT(first.output, HasSubstr(" are free in " + (folder / "out").string() +
                                      "\n  no checkpoint has been written yet: make room and start again"));
  ASSERT_EQ(run(kTrain + " --cfg " + cfg).exit_code, 0);
  take_back_the_second_epoch(folder / "out");
  const auto second = run(limited + kTrain + " --resume --cfg " + cfg);
  EXPECT_EQ(second.exit_code, 3) << second.output;
  EXPECT_THAT(second.output, HasSubstr("the last checkpoint is intact: " + (folder / "out/checkpoint-5").string() +
                                       "\n  make room, then add --resume to go on"));
  EXPECT_EQ(checkpoints(folder / "out"), std::vector<std::string>{"checkpoint-5"});
  const auto resumed = run(kTrain + " --resume --cfg " + cfg);
  EXPECT_EQ(resumed.exit_code, 0) << resumed.output;
}

TEST(StoppedRun, AWarmUpThatNeverEndsIsRefused) {
  const test::TemporaryFolder folder;
  const std::string command = kTrain + " --cfg " + tiny_experiment(folder) + " --set warmup_steps=10";
  for (const char* dry_run : {"", " --dry-run"}) {
    const auto refused = run(command + dry_run);
    EXPECT_EQ(refused.exit_code, 2) << refused.output;
    EXPECT_THAT(refused.output, HasSubstr("warmup_steps: the warm-up of 10 steps never ends: the training has 10"));
  }
  EXPECT_EQ(run(command + " --debug").exit_code, 0);
  EXPECT_EQ(run(kTrain + " --overwrite --cfg " + tiny_experiment(folder) + " --set warmup_steps=9").exit_code, 0);
}

}  // namespace
}  // namespace mpeft
