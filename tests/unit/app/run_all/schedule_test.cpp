#include "app/run_all/schedule.h"

#include <csignal>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "app/run_all/table.h"

namespace mpeft::app {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::Not;

std::vector<Experiment> experiments(int n) {
  std::vector<Experiment> result;
  for (int i = 0; i < n; ++i) {
    result.push_back({"cfg/exps/a/" + std::to_string(i) + ".yaml", "a/experiment_number_" + std::to_string(i),
                      "weights/a/" + std::to_string(i), 10, false});
  }
  return result;
}

const auto any_worker = [](size_t) { return true; };

TEST(ScheduleTest, KeepsEveryDeviceBusyInOrder) {
  Schedule schedule(experiments(4), {"0", "1"}, 0);
  const auto first = schedule.next(any_worker), second = schedule.next(any_worker);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(schedule.runs()[first->run].device, "0");
  EXPECT_EQ(schedule.runs()[second->run].device, "1");
  EXPECT_FALSE(schedule.next(any_worker));
  schedule.end(second->run, RunState::kDone, {}, "");
  const auto third = schedule.next(any_worker);
  ASSERT_TRUE(third);
  EXPECT_EQ(third->run, 2U);
  EXPECT_EQ(schedule.runs()[third->run].device, "1");
  EXPECT_FALSE(schedule.is_over());
}

TEST(ScheduleTest, LeavesUnusableDevicesAlone) {
  Schedule schedule(experiments(2), {"0", "1"}, 0);
  const auto assignment = schedule.next([](size_t worker) { return worker == 1; });
  ASSERT_TRUE(assignment);
  EXPECT_EQ(schedule.runs()[assignment->run].device, "1");
  EXPECT_FALSE(schedule.next([](size_t worker) { return worker == 1; }));
  EXPECT_EQ(schedule.counts().waiting, 1);
}

TEST(ScheduleTest, TriesACrashAgainAfterTheOthersAndNothingElse) {
  Schedule schedule(experiments(2), {"cpu"}, 1);
  const size_t first = schedule.next(any_worker)->run;
  schedule.end(first, RunState::kFailed, {0, SIGKILL}, "killed");
  EXPECT_EQ(schedule.runs()[first].state, RunState::kWaiting);
  const size_t second = schedule.next(any_worker)->run;
  EXPECT_NE(second, first);
  schedule.end(second, RunState::kFailed, {4, 0}, "loss not finite");
  EXPECT_EQ(schedule.runs()[second].state, RunState::kFailed);  // the same seed gives the same end
  EXPECT_EQ(schedule.next(any_worker)->run, first);
  EXPECT_EQ(schedule.runs()[first].n_attempts, 2);
  schedule.end(first, RunState::kFailed, {0, SIGKILL}, "killed");
  EXPECT_EQ(schedule.runs()[first].state, RunState::kFailed);
  EXPECT_TRUE(schedule.is_over());
}

TEST(ScheduleTest, ExitCodeIsTheWorst) {
  Schedule schedule(experiments(3), {"cpu"}, 0);
  schedule.end(schedule.next(any_worker)->run, RunState::kDone, {}, "");
  EXPECT_EQ(schedule.exit_code(), 0);
  schedule.end(schedule.next(any_worker)->run, RunState::kFailed, {3, 0}, "no data");
  schedule.end(schedule.next(any_worker)->run, RunState::kFailed, {1, 0}, "bug");
  EXPECT_EQ(schedule.exit_code(), 3);
}

TEST(ScheduleTest, StartsAndRetriesNothingOnceStopped) {
  Schedule schedule(experiments(3), {"cpu"}, 5);
  const size_t running = schedule.next(any_worker)->run;
  schedule.stop();
  EXPECT_FALSE(schedule.is_over());
  schedule.end(running, RunState::kFailed, {1, 0}, "bug");
  EXPECT_TRUE(schedule.is_over());
  EXPECT_EQ(schedule.counts().not_started, 2);
  EXPECT_EQ(schedule.counts().failed, 1);
  EXPECT_EQ(schedule.exit_code(), 130);
}

TEST(ScheduleTest, SkippedRunsAreNoFailures) {
  Schedule schedule(experiments(2), {"cpu"}, 0);
  schedule.skip(0, RunState::kFinishedBefore);
  const auto next = schedule.next(any_worker);
  EXPECT_EQ(next->run, 1U);
  schedule.end(next->run, RunState::kTaken, {}, "");
  EXPECT_TRUE(schedule.is_over());
  EXPECT_EQ(schedule.counts().skipped, 2);
  EXPECT_EQ(schedule.exit_code(), 0);
}

TEST(ScheduleTest, EstimatesTheEndFromWhatIsKnown) {
  Schedule schedule(experiments(3), {"0", "1"}, 0);
  const auto now = Run::Clock::now();
  EXPECT_FALSE(schedule.eta(now));
  const size_t first = schedule.next(any_worker)->run, second = schedule.next(any_worker)->run;
  EXPECT_FALSE(schedule.eta(now));
  schedule.runs()[first].begin = schedule.runs()[second].begin = now - std::chrono::seconds(10);
  schedule.runs()[first].eta = 30;
  schedule.runs()[second].eta = 50;
  // (30 + 50 left + one more run of (40 + 60) / 2) on two devices.
  EXPECT_NEAR(schedule.eta(now).value(), (30 + 50 + 50) / 2.0, 1e-6);
}

TEST(ChildExitTest, NamesSignalsAndCodes) {
  EXPECT_EQ(describe({0, SIGKILL}), "killed by signal 9 (Killed)");
  EXPECT_EQ(describe({3, 0}), "exit code 3 (data or checkpoint)");
  EXPECT_EQ((ChildExit{0, SIGSEGV}).exit_code(), 139);
}

Schedule schedule_in_every_state() {
  Schedule schedule(experiments(5), {"0"}, 0);
  auto& runs = schedule.runs();
  schedule.end(schedule.next(any_worker)->run, RunState::kDone, {}, "");
  schedule.end(schedule.next(any_worker)->run, RunState::kFailed, {4, 0},
               "loss not finite, layer 17 (weights/a/1/console.txt)");
  const size_t running = schedule.next(any_worker)->run;
  runs[running].progress = {.epoch = 7,
                            .step = 70,
                            .total_steps = 100,
                            .loss = 0.2114,
                            .n_evaluations = 2,
                            .metric_name = "execution",
                            .metric = 0.561,
                            .best_metric = 0.6,
                            .best_epoch = 5};
  runs[running].eta = 80;
  runs[running].begin = Run::Clock::now() - std::chrono::seconds(18 * 60 + 40);
  schedule.skip(4, RunState::kFinishedBefore);
  return schedule;
}

TEST(TableTest, ShowsEveryRunWithItsState) {
  const Schedule schedule = schedule_in_every_state();
  const auto lines = draw_table(schedule, Run::Clock::now(), {.width = 200});
  ASSERT_EQ(lines.size(), 7U);
  EXPECT_EQ(
      lines[0],
      "run_all  5 experiments on cuda:0     done 1   running 1   waiting 1   skipped 1   failed 1   eta 11 min 20 s");
  EXPECT_THAT(lines[2], HasSubstr("done"));
  EXPECT_THAT(lines[3], HasSubstr("failed: loss not finite, layer 17 (weights/a/1/console.txt)"));
  for (const char* part :
       {"0", "a/experiment_number_2", "7/10", "0.211", "execution 0.561", "18:40", "running, 1 min 20 s left"}) {
    EXPECT_THAT(lines[4], HasSubstr(part));
  }
  EXPECT_THAT(lines[5], HasSubstr("waiting"));
  EXPECT_THAT(lines[6], HasSubstr("skipped: finished before"));
  EXPECT_THAT(lines, Each(Not(HasSubstr("\x1b"))));
}

TEST(TableTest, FitsTheTerminal) {
  const Schedule schedule = schedule_in_every_state();
  for (const size_t width : {40, 79, 100}) {
    for (const auto& line : draw_table(schedule, Run::Clock::now(), {.width = width})) {
      const auto n = std::count_if(line.begin(), line.end(), [](char c) { return (c & 0xC0) != 0x80; });
      EXPECT_LE(static_cast<size_t>(n), width) << line;
    }
  }
}

TEST(TableTest, KeepsTheRunningAndTheFailedWhenNotAllFit) {
  const Schedule schedule = schedule_in_every_state();
  const auto lines = draw_table(schedule, Run::Clock::now(), {.width = 200, .max_rows = 2});
  ASSERT_EQ(lines.size(), 5U);
  EXPECT_THAT(lines[2], HasSubstr("failed"));
  EXPECT_THAT(lines[3], HasSubstr("running"));
  EXPECT_THAT(lines[4], HasSubstr("and 3 more"));
}

TEST(TableTest, ColoursOnlyTheState) {
  const auto lines = draw_table(schedule_in_every_state(), Run::Clock::now(), {.width = 200, .colour = true});
  EXPECT_THAT(lines[3], HasSubstr("\x1b[31mfailed"));
  EXPECT_TRUE(lines[3].ends_with("\x1b[0m"));
}

TEST(TableTest, ProgressNamesTheBestEvaluation) {
  const Schedule schedule = schedule_in_every_state();
  EXPECT_EQ(progress_text(schedule.runs()[2]), "epoch 7/10  loss 0.211  execution 0.561 (best 0.600, epoch 5)");
}

}  // namespace
}  // namespace mpeft::app
