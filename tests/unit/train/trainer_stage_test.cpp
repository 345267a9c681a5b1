#include <csignal>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mpeft/core/error.h"
#include "mpeft/train/trainer.h"

#include "support/temporary_folder.h"
#include "support/tiny_model.h"

namespace mpeft::train {
namespace {

std::vector<data::Example> some_examples() {
  std::vector<data::Example> examples(6);
  for (size_t i = 0; i < examples.size(); ++i) {
    for (int t = 0; t < 7; ++t) examples[i].ids.push_back((static_cast<int>(i) * 5 + t * 11) % 61);
    examples[i].prompt_length = 2;
  }
  return examples;
}

struct StagedRun {
  test::TemporaryFolder folder;
  model::MambaLM model = test::make_tiny_model();
  std::vector<data::Example> examples = some_examples();
  TrainerOptions options;
  TrainerHooks hooks;

  StagedRun() {
    model->backbone->norm_f->weight.set_requires_grad(true);
    options.num_epochs = 3;
    options.batch_size = 2;
    options.log_steps = 1;
    options.eval_epochs = 0;
    options.output_dir = folder.path();
    hooks.save_weights = [](const std::filesystem::path&) {};
  }
  Trainer trainer() {
    return Trainer(model, {{"norm_f.weight", model->backbone->norm_f->weight}}, examples, options, hooks);
  }
};

TEST(TrainerStageTest, AStageHasItsOwnStepsAndTheScheduleOfTheRun) {
  StagedRun run;
  run.options.stage = {1, 2, "X stage 1 of 2 (warm-up)", 4, 0, 9};
  auto trainer = run.trainer();
  EXPECT_EQ(trainer.total_steps(), 4);
  trainer.run();
  EXPECT_EQ(trainer.state().step, 4);
  EXPECT_EQ(checkpoint::latest_training_folder(run.folder.path())->step, 4);
  EXPECT_EQ(stage_of(*checkpoint::latest_training_folder(run.folder.path())), 1);
  run.options.stage = {2, 2, "X stage 2 of 2", 0, 4, 0};
  auto second = run.trainer();
  second.run();
  EXPECT_EQ(second.state().step, 9);
  const auto latest = *checkpoint::latest_training_folder(run.folder.path());
  EXPECT_EQ(latest.step, 13);
  EXPECT_EQ(stage_of(latest), 2);
  run.options.stage = {1, 2, "X stage 1 of 2 (warm-up)", 4, 0, 9};
  EXPECT_THROW(run.trainer().resume(latest), CheckpointError);
}

TEST(TrainerStageTest, ACheckpointOfAnotherScheduleIsNotContinued) {
  StagedRun run;
  run.trainer().run();
  const auto latest = *checkpoint::latest_training_folder(run.folder.path());
  EXPECT_NO_THROW(run.trainer().resume(latest));
  run.options.schedule = optim::Schedule::Shape::kCosine;
  try {
    run.trainer().resume(latest);
    FAIL();
  } catch (const CheckpointError& e) {
    EXPECT_THAT(e.what(), testing::HasSubstr("was made with other settings"));
    EXPECT_THAT(e.what(), testing::HasSubstr("\n  lr_scheduler: linear → cosine\n"));
  }
}

TEST(TrainerStageTest, OnlyAConstantLearningRateTrainsLonger) {
  StagedRun run;
  run.trainer().run();
  run.options.num_epochs += 1;
  EXPECT_THROW(run.trainer().resume(*checkpoint::latest_training_folder(run.folder.path())), CheckpointError);

  StagedRun constant;
  constant.options.schedule = optim::Schedule::Shape::kConstant;
  constant.trainer().run();
  const auto latest = *checkpoint::latest_training_folder(constant.folder.path());
  constant.options.num_epochs += 1;
  EXPECT_NO_THROW(constant.trainer().resume(latest));
  constant.options.learning_rate *= 2;
  EXPECT_THROW(constant.trainer().resume(latest), CheckpointError);
  constant.options.learning_rate /= 2;
  constant.options.max_steps = 1;
  try {
    constant.trainer().resume(latest);
    FAIL();
  } catch (const CheckpointError& e) {
    EXPECT_THAT(e.what(), testing::HasSubstr("past the end of a training of 1 steps"));
  }
}

TEST(TrainerStageTest, AnInterruptDuringTheLastStepOfAStageStopsTheRun) {
  StagedRun run;
  int64_t n_saved = 0;
  run.hooks.save_weights = [&](const std::filesystem::path&) {
    if (++n_saved == 2) std::raise(SIGINT);  // epochs end after 3 steps: 3, and 4, where the stage ends
  };
  run.options.stage = {1, 2, "X stage 1 of 2 (warm-up)", 4, 0, 9};
  EXPECT_THROW(run.trainer().run(), Interrupted);
  n_saved = 0;
  std::filesystem::remove_all(run.folder.path() / "checkpoint-4");
  run.options.stage = {2, 2, "X stage 2 of 2", 4, 0, 9};  // the last stage's end is the run's: nothing is left to stop
  EXPECT_NO_THROW(run.trainer().run());
}

}  // namespace
}  // namespace mpeft::train
