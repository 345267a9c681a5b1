// What a run may change when it goes on with --resume, and what it is refused for.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "e2e/programs.h"

namespace mpeft {
namespace {

using nlohmann::json;
using test::kTrain;
using test::read;
using test::run;
using test::tiny_experiment;
using test::write;
using testing::HasSubstr;
using testing::Not;

namespace sfs = std::filesystem;

// A run that a crash ended before it had left its result.
void take_back_the_end(const sfs::path& out) {
  auto manifest = json::parse(read(out / "manifest.json"));
  manifest["finished"] = false;
  write(out / "manifest.json", manifest.dump());
  sfs::remove_all(out / "model");
}

TEST(ResumeProgram, NamesEverySettingThatDiffersAndWhatToDo) {
  const test::TemporaryFolder folder;
  const std::string cfg = tiny_experiment(folder);
  ASSERT_EQ(run(kTrain + " --cfg " + cfg + " --set max_steps=3").exit_code, 0);
  take_back_the_end(folder / "out");
  const std::string manifest = read(folder / "out/manifest.json");
  for (const char* dry_run : {"", " --dry-run"}) {
    const auto refused = run(kTrain + " --resume --cfg " + cfg + dry_run +
                             " --set max_steps=3 --set prompt=Answer --set weight_decay=0.1 --set max_grad_norm=0"
                             " --prec bf16");
    EXPECT_EQ(refused.exit_code, 2) << refused.output;
    EXPECT_THAT(refused.output, HasSubstr("--resume cannot go on with other settings than the run began with:\n"
                                          "  prompt: ~ → Answer\n  prec: fp32 → bf16\n"
                                          "  weight_decay: 0 → 0.1\n  max_grad_norm: 1 → 0\n"));
    EXPECT_THAT(refused.output, HasSubstr("use the settings of " + (folder / "out/cfg.yaml").string()));
    EXPECT_THAT(refused.output, HasSubstr("--overwrite"));
    EXPECT_THAT(refused.output, Not(HasSubstr("lr_scheduler")));
  }
  const auto longer = run(kTrain + " --resume --cfg " + cfg);
  EXPECT_EQ(longer.exit_code, 2) << longer.output;
  EXPECT_THAT(longer.output, HasSubstr("  max_steps: 3 → 0\n  (lr_scheduler linear: the learning rates of the steps"));
  EXPECT_EQ(read(folder / "out/manifest.json"), manifest) << "a refused run has changed nothing";
  const auto same = run(kTrain + " --resume --cfg " + cfg + " --set max_steps=3");
  EXPECT_EQ(same.exit_code, 0) << same.output;
}

TEST(ResumeProgram, EvaluationAndLoggingMayChangeOnTheWay) {
  const test::TemporaryFolder folder;
  const std::string cfg = tiny_experiment(folder);
  const std::string evaluated = " --set skip_eval=false --set eval_gen.max_length=4";
  ASSERT_EQ(run(kTrain + " --cfg " + cfg + evaluated).exit_code, 0);
  take_back_the_end(folder / "out");
  sfs::remove_all(folder / "out/checkpoint-10");
  const auto unevaluated = run(kTrain + " --resume --cfg " + cfg +
                               " --set skip_eval=true --set eval_gen.max_length=4 --set log_steps=2 "
                               "--set save_total_limit=1 --set eval_batch_size=1 --device cpu");
  ASSERT_EQ(unevaluated.exit_code, 0) << unevaluated.output;
  EXPECT_THAT(unevaluated.output, HasSubstr("resuming from"));
  take_back_the_end(folder / "out");
  const auto again = run(kTrain + " --resume --cfg " + cfg + evaluated);
  EXPECT_EQ(again.exit_code, 0) << again.output;
  take_back_the_end(folder / "out");
  const auto measured_otherwise = run(kTrain + " --resume --cfg " + cfg + evaluated + " --set eval_gen.num_beams=2");
  EXPECT_EQ(measured_otherwise.exit_code, 2) << measured_otherwise.output;
  EXPECT_THAT(measured_otherwise.output, HasSubstr("\n  eval_gen.num_beams: 5 → 2\n"));
}

TEST(ResumeProgram, TheSizesOfTheModelAreThoseItBeganWith) {
  const test::TemporaryFolder folder;
  const std::string cfg = tiny_experiment(folder);
  ASSERT_EQ(run(kTrain + " --cfg " + cfg).exit_code, 0);
  take_back_the_end(folder / "out");
  const std::string sizes = read(folder / "model.yaml");
  write(folder / "model.yaml", sizes + "norm_eps: 0.001\n");
  const auto refused = run(kTrain + " --resume --cfg " + cfg);
  EXPECT_EQ(refused.exit_code, 3) << refused.output;
  EXPECT_THAT(refused.output, HasSubstr("the run began with other sizes of the model"));
  write(folder / "model.yaml", sizes);
  const auto same = run(kTrain + " --resume --cfg " + cfg);
  EXPECT_EQ(same.exit_code, 0) << same.output;
}

TEST(ResumeProgram, AConstantLearningRateTrainsOnToTheLongerRunBitForBit) {
  const test::TemporaryFolder whole, extended;
  const std::string constant = "lr_scheduler: constant\n";
  ASSERT_EQ(run(kTrain + " --cfg " + tiny_experiment(whole, constant) + " --set num_epochs=3").exit_code, 0);
  const std::string cfg = tiny_experiment(extended, constant);
  ASSERT_EQ(run(kTrain + " --cfg " + cfg).exit_code, 0);
  const auto unasked = run(kTrain + " --cfg " + cfg + " --set num_epochs=3");
  EXPECT_EQ(unasked.exit_code, 2) << unasked.output;
  EXPECT_THAT(unasked.output, HasSubstr("already finished, with other settings (num_epochs: 2 → 3); --resume trains it "
                                        "longer; --overwrite starts anew"));
  const auto longer = run(kTrain + " --resume --cfg " + cfg + " --set num_epochs=3 --set eval_batch_size=1");
  ASSERT_EQ(longer.exit_code, 0) << longer.output;
  EXPECT_THAT(longer.output, HasSubstr("resuming from"));
  EXPECT_TRUE(read(whole / "out/model/model.safetensors") == read(extended / "out/model/model.safetensors"));
  const auto shorter = run(kTrain + " --resume --cfg " + cfg + " --set eval_batch_size=1");
  EXPECT_EQ(shorter.exit_code, 2) << shorter.output;
  EXPECT_THAT(shorter.output, HasSubstr("already finished, with other settings (num_epochs: 3 → 2); --overwrite"));
}

// Its end lies within an epoch, whose remaining batches are those that the longer run takes.
TEST(ResumeProgram, ARunThatStepsEndedWithinAnEpochTrainsOnBitForBit) {
  const test::TemporaryFolder whole, extended;
  const std::string constant = "lr_scheduler: constant\n";
  ASSERT_EQ(run(kTrain + " --cfg " + tiny_experiment(whole, constant) + " --set max_steps=9").exit_code, 0);
  const std::string cfg = tiny_experiment(extended, constant);
  ASSERT_EQ(run(kTrain + " --cfg " + cfg + " --set max_steps=3").exit_code, 0);  // of five an epoch
  const auto longer = run(kTrain + " --resume --cfg " + cfg + " --set max_steps=9");
  ASSERT_EQ(longer.exit_code, 0) << longer.output;
  EXPECT_THAT(longer.output, HasSubstr("(epoch 0, step 3)"));
  EXPECT_TRUE(read(whole / "out/model/model.safetensors") == read(extended / "out/model/model.safetensors"));
}

}  // namespace
}  // namespace mpeft
