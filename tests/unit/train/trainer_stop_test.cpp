// Where a run is stopped from outside, or by its own weights.
#include <csignal>
#include <fstream>
#include <limits>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mpeft/core/error.h"
#include "mpeft/train/interrupt.h"
#include "mpeft/train/trainer.h"

#include "support/temporary_folder.h"
#include "support/tiny_model.h"

namespace mpeft::train {
namespace {

using testing::HasSubstr;
using testing::Not;

struct StoppedRun {  // three epochs of three steps
  test::TemporaryFolder folder;
  model::MambaLM model = test::make_tiny_model();
  std::vector<data::Example> examples = std::vector<data::Example>(6);
  TrainerOptions options;
  TrainerHooks hooks;

  StoppedRun() {
    for (size_t i = 0; i < examples.size(); ++i) {
      for (int t = 0; t < 7; ++t) examples[i].ids.push_back((static_cast<int>(i) * 5 + t * 11) % 61);
      examples[i].prompt_length = 2;
    }
    weight().set_requires_grad(true);
    options.num_epochs = 3;
    options.batch_size = 2;
    options.log_steps = 1;
    options.output_dir = folder.path();
    hooks.save_weights = [](const std::filesystem::path&) {};
  }
  at::Tensor& weight() { return model->backbone->norm_f->weight; }
  void run() { Trainer(model, {{"norm_f.weight", weight()}}, examples, options, hooks).run(); }
  template <typename Problem>
  std::string problem_of_run() {
    try {
      run();
    } catch (const Problem& e) {
      return e.what();
    }
    return "";
  }
  std::vector<int64_t> checkpoints() const {
    std::vector<int64_t> steps;
    for (const auto& one : checkpoint::list_training_folders(folder.path())) steps.push_back(one.step);
    return steps;
  }
};

TEST(TrainerStopTest, AnEvaluationThatIsInterruptedSaysWhatIsSaved) {
  StoppedRun run;
  run.hooks.evaluate = [](int64_t) -> std::map<std::string, double> { throw Interrupted("here"); };
  EXPECT_EQ(run.problem_of_run<Interrupted>(),
            "interrupted during the evaluation after step 3; the run is saved: add --resume to go on");
  run.options.eval_before_training = true;
  std::filesystem::remove_all(run.folder.path() / "checkpoint-3");
  EXPECT_EQ(run.problem_of_run<Interrupted>(),
            "interrupted during the evaluation after step 0; there is no checkpoint yet");
  run.options.no_save = true;
  run.options.eval_before_training = false;
  EXPECT_EQ(run.problem_of_run<Interrupted>(),
            "interrupted during the evaluation after step 3; nothing was saved (no_save)");
}

TEST(TrainerStopTest, AfterAnEpochOfAnUnsavedRunNothingIsSaidOfGoingOn) {
  StoppedRun run;
  run.options.no_save = true;
  run.hooks.evaluate = [](int64_t) {
    std::raise(SIGTERM);
    return std::map<std::string, double>{{"bleu", 1}};
  };
  EXPECT_EQ(run.problem_of_run<Interrupted>(), "interrupted after epoch 1; nothing was saved (no_save)");
}

TEST(TrainerStopTest, AClosedConnectionIsASignalLikeTheOthersButNeverTheLast) {
  {
    const InterruptGuard guard;
    EXPECT_FALSE(InterruptGuard::requested());
    std::raise(SIGHUP);
    EXPECT_TRUE(InterruptGuard::requested());
    std::raise(SIGHUP);
  }
  std::signal(SIGHUP, SIG_IGN);  // as nohup does
  {
    const InterruptGuard guard;
    std::raise(SIGHUP);
    EXPECT_FALSE(InterruptGuard::requested());
  }
  EXPECT_EQ(std::signal(SIGHUP, SIG_DFL), SIG_IGN);
  std::signal(SIGPIPE, SIG_DFL);
}

TEST(TrainerStopTest, CheckpointsWithinAnEpochMakeWayForTheNext) {
  StoppedRun run;
  run.options.save_minutes = 1e-9;
  run.options.save_total_limit = 0;
  run.run();
  EXPECT_THAT(run.checkpoints(), testing::ElementsAre(3, 6, 9));
  StoppedRun limited;
  limited.options.save_minutes = 1e-9;
  limited.options.save_total_limit = 2;
  limited.run();
  EXPECT_THAT(limited.checkpoints(), testing::ElementsAre(6, 9));
  EXPECT_TRUE(run.weight().equal(limited.weight()));
  StoppedRun only_at_ends;
  only_at_ends.options.save_minutes = 0;
  only_at_ends.options.save_total_limit = 0;
  only_at_ends.run();
  EXPECT_THAT(only_at_ends.checkpoints(), testing::ElementsAre(3, 6, 9));
  EXPECT_TRUE(run.weight().equal(only_at_ends.weight()));
}

TEST(TrainerStopTest, ABatchWithoutAFiniteLossCostsNoCheckpointAndNoResult) {
  int n_last = 0;
  for (uint64_t seed = 0; seed < 12; ++seed) {
    StoppedRun run;
    run.options.seed = seed;
    run.options.num_epochs = 1;
    auto config = run.model->config();
    config.tie_embeddings = false;
    run.model = model::MambaLM(config);
    model::init_parameters(run.model, 1);
    run.weight().set_requires_grad(true);
    run.examples[0].ids[3] = 1;  // nowhere else
    run.model->backbone->embeddings->weight.data()[1].fill_(std::numeric_limits<float>::infinity());
    const auto problem = run.problem_of_run<TrainingStopped>();
    if (!problem.empty()) {
      EXPECT_THAT(problem, Not(HasSubstr(", the last: ")));  // the first step's loss must be finite
      continue;
    }
    EXPECT_THAT(run.checkpoints(), testing::ElementsAre(3)) << seed;
    std::ifstream metrics(run.folder / "metrics.jsonl");
    std::string line, last;
    while (std::getline(metrics, line)) last = line;
    if (last.find("\"loss\":null") != std::string::npos || last.find("NaN") != std::string::npos) ++n_last;
  }
  EXPECT_GT(n_last, 0);
}

TEST(TrainerStopTest, BrokenWeightsReplaceNoCheckpointAndAreNoResult) {
  StoppedRun run;
  run.options.save_total_limit = 1;
  run.hooks.evaluate = [&](int64_t step) {
    const at::NoGradGuard no_grad;
    if (step == 3) run.weight()[0] = std::numeric_limits<float>::quiet_NaN();
    return std::map<std::string, double>{};
  };
  const auto problem = run.problem_of_run<TrainingStopped>();
  EXPECT_THAT(problem, HasSubstr("step 9, the last: loss or gradient not finite for 6 steps; first not finite: "));
  // Written before the weights broke, but nothing shows that: the step after it is bad.
  EXPECT_THAT(problem, HasSubstr("\n  the loss is not finite from the step after " +
                                 (run.folder / "checkpoint-3").string() + " on\n"));
  EXPECT_THAT(problem, Not(HasSubstr("is intact")));
  EXPECT_THAT(run.checkpoints(), testing::ElementsAre(3));
}

TEST(TrainerStopTest, AFloorStopsAResumedRunBeforeItsFirstStep) {
  StoppedRun run;
  run.options.first_metric = "bleu";
  run.options.min_metric_after_epoch = {{1, 0.5}};
  run.hooks.evaluate = [](int64_t) { return std::map<std::string, double>{{"bleu", 0.25}}; };
  EXPECT_THAT(run.problem_of_run<TrainingStopped>(), HasSubstr("below the 0.5"));
  const auto resume = [&] {
    Trainer trainer(run.model, {{"norm_f.weight", run.weight()}}, run.examples, run.options, run.hooks);
    trainer.resume(*checkpoint::latest_training_folder(run.folder.path()));
    trainer.run();
  };
  EXPECT_THROW(resume(), TrainingStopped);
  EXPECT_THAT(run.checkpoints(), testing::ElementsAre(3));
  run.options.min_metric_after_epoch = {{1, 0.25}};
  EXPECT_NO_THROW(resume());
  EXPECT_THAT(run.checkpoints(), testing::ElementsAre(3, 6, 9));  // the best is kept beside two
}

}  // namespace
}  // namespace mpeft::train
