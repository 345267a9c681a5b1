// run_all as a user runs it: with a program that stands in for `train` and ends as each experiment says, and with
// train.

#include <filesystem>
#include <string>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "e2e/programs.h"
#include "support/temporary_folder.h"

namespace mpeft {
namespace {

namespace sfs = std::filesystem;
using test::kRunAll;
using test::read;
using test::run;
using test::write;
using ::testing::HasSubstr;
using ::testing::Not;

// Ends as the experiment's comment "# do: …" says (a line of bash); without one it leaves a finished run.
constexpr const char* kFakeTrain = R"sh(#!/usr/bin/env bash
arguments="$*"
while [ $# -gt 0 ]; do case $1 in --cfg) cfg=$2; shift ;; esac; shift; done
out=$(sed -n 's/^output_dir: //p' "$cfg")
finish() { echo '{"finished": true}' > "$out/manifest.json"; }
echo "$arguments" >> "$out/arguments.txt"
eval "$(sed -n 's/^# do: //p' "$cfg")"
finish
)sh";

class RunAllProgram : public ::testing::Test {
 protected:
  RunAllProgram() {
    fake_ = folder_.write("fake_train", kFakeTrain).string();
    sfs::permissions(fake_, sfs::perms::owner_all);
  }
  // An experiment for the fake: "x" writes to out/x.
  void experiment(const std::string& name, const std::string& action = "") {
    folder_.write("cfg/" + name + ".yaml", "# do: " + action + "\nmodel: m\ndata: dart\noutput_dir: " +
                                               (folder_ / ("out/" + name)).string() + "\n");
  }
  std::string command(const std::string& flags) const {
    return kRunAll + " " + fake_ + " --interval 0.05 --device cpu " + flags + " --cfg '" + (folder_ / "cfg").string() +
           "/*.yaml'";
  }
  test::Outcome run_all(const std::string& flags = "") const { return run(command(flags)); }
  std::string arguments(const std::string& name) const { return read(folder_ / ("out/" + name + "/arguments.txt")); }

  test::TemporaryFolder folder_;
  std::string fake_;
};

TEST_F(RunAllProgram, RunsAllAndTellsHowEachEnded) {
  experiment("a");
  experiment("b", "echo 'loading'; echo 'error: tables.json: no such file' >&2; exit 3");
  experiment("c", "kill -9 $$");
  const auto outcome = run_all();
  EXPECT_EQ(outcome.exit_code, 137) << outcome.output;  // the worst
  EXPECT_THAT(outcome.output, HasSubstr("3 experiments on cpu     done 1   failed 2"));
  EXPECT_THAT(outcome.output,
              HasSubstr("failed: tables.json: no such file (" + (folder_ / "out/b/console.txt").string() + ")"));
  EXPECT_THAT(outcome.output, HasSubstr("failed: killed by signal 9 (Killed)"));
  EXPECT_THAT(read(folder_ / "out/b/console.txt"), HasSubstr("loading"));
  EXPECT_THAT(outcome.output, Not(HasSubstr("\x1b")));
}

TEST_F(RunAllProgram, SkipsWhatIsFinishedUnlessAskedToOverwrite) {
  experiment("a");
  experiment("b", "[ -e \"$out/once\" ] || { touch \"$out/once\"; exit 4; }");
  EXPECT_EQ(run_all().exit_code, 4);
  const auto again = run_all();
  EXPECT_EQ(again.exit_code, 0) << again.output;
  EXPECT_THAT(again.output, HasSubstr("a  skipped: finished before"));
  EXPECT_THAT(again.output, HasSubstr("done 1   skipped 1"));
  EXPECT_EQ(run_all("--overwrite").exit_code, 0);
  EXPECT_THAT(arguments("a"), HasSubstr("--overwrite"));
}

// What train does with other settings is its own: it may say that the run is finished, or train on.
TEST_F(RunAllProgram, AFinishedRunOfOtherSettingsIsHandedToTheProgram) {
  experiment("a", "if [ -e \"$out/asked\" ]; then echo 'already finished'; exit 0; fi");
  experiment("b");
  ASSERT_EQ(run_all().exit_code, 0);
  for (const char* name : {"a", "b"})
    folder_.write("out/" + std::string(name) + "/cfg.yaml", read(folder_ / ("cfg/" + std::string(name) + ".yaml")));
  EXPECT_THAT(run(command("--resume") + " --dry-run").output, HasSubstr("to run"));  // there is no result
  for (const char* name : {"a", "b"}) sfs::create_directory(folder_ / ("out/" + std::string(name) + "/model"));
  folder_.write("out/a/asked", "");
  EXPECT_THAT(run(command("--resume")).output, HasSubstr("skipped 2"));
  const std::string longer = command("--resume") + " -- --set num_epochs=20";
  const auto outcome = run(longer);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("done 1   skipped 1"));
  EXPECT_THAT(outcome.output, HasSubstr("a  skipped: finished before"));
  EXPECT_THAT(arguments("b"), HasSubstr("--set num_epochs=20 --lock --resume"));
}

TEST_F(RunAllProgram, PassesFlagsOnToEveryChild) {
  experiment("a");
  experiment("b");
  const auto outcome = run(command("--prec fp32") + " -- --set num_epochs=1 --set 'eval_gen={num_beams: 2}' --seed 7");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  for (const char* name : {"a", "b"}) {
    EXPECT_EQ(arguments(name),
              "--cfg " + (folder_ / "cfg").string() + "/" + name +
                  ".yaml --device cpu --set num_epochs=1 --set eval_gen={num_beams: 2} --prec fp32 --seed 7 --lock\n");
  }
}

TEST_F(RunAllProgram, RetriesCrashesFromTheirLastCheckpoint) {
  experiment("a", "[ -e \"$out/once\" ] || { touch \"$out/once\"; echo '{}' > \"$out/manifest.json\"; kill -11 $$; }");
  experiment("b", "exit 2");
  const auto outcome = run_all("--retries 1 --overwrite");
  EXPECT_EQ(outcome.exit_code, 2) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("started on cpu (attempt 2)"));
  const std::string both = arguments("a");
  EXPECT_THAT(both.substr(0, both.find('\n')), HasSubstr("--overwrite"));
  EXPECT_THAT(both.substr(both.find('\n') + 1), HasSubstr("--resume"));
  EXPECT_THAT(both.substr(both.find('\n') + 1), Not(HasSubstr("--overwrite")));
  EXPECT_EQ(arguments("b").find('\n'), arguments("b").size() - 1);  // one attempt: a wrong flag stays wrong
}

TEST_F(RunAllProgram, ARunThatDiedBeforeItBeganStillOverwrites) {
  experiment("a", "[ -e \"$out/once\" ] || { touch \"$out/once\"; kill -9 $$; }");
  const auto outcome = run_all("--retries 1 --overwrite");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("started on cpu (attempt 2)"));
  const std::string both = arguments("a");
  EXPECT_THAT(both.substr(both.find('\n') + 1), HasSubstr("--overwrite"));
  EXPECT_THAT(both.substr(both.find('\n') + 1), Not(HasSubstr("--resume")));
}

TEST_F(RunAllProgram, PassesCtrlCOnAndWaits) {
  // the experiment itself interrupts run_all, once it is ready to be interrupted, however busy the machine is
  experiment("a", "trap 'echo saved > \"$out/saved\"; exit 130' INT; kill -INT $PPID; sleep 30 & wait");
  experiment("b");
  const auto outcome = run(command(""));
  EXPECT_EQ(outcome.exit_code, 130) << outcome.output;
  EXPECT_TRUE(sfs::exists(folder_ / "out/a/saved"));
  EXPECT_FALSE(sfs::exists(folder_ / "out/b"));  // nothing is started any more
  EXPECT_THAT(outcome.output, HasSubstr("interrupted: running experiments save themselves"));
  EXPECT_THAT(outcome.output, HasSubstr("interrupted 1   not started 1"));
}

TEST_F(RunAllProgram, ASecondCtrlCKills) {
  experiment("a", "trap '' INT; echo $$ > \"$out/pid\"; sleep 30");
  const auto outcome =
      run(command("") + " & pid=$!; sleep 0.7; kill -INT $pid; sleep 0.5; kill -INT $pid; wait $pid; echo code $?; " +
          "kill -0 $(cat " + (folder_ / "out/a/pid").string() + ") || echo gone");
  EXPECT_THAT(outcome.output, HasSubstr("code 130"));
  EXPECT_THAT(outcome.output, HasSubstr("killed: what was saved before is intact"));
  EXPECT_THAT(outcome.output, HasSubstr("gone"));
}

// On a terminal, which `script` makes: NO_COLOR takes the colours away, not the live table.
TEST_F(RunAllProgram, NoColorLeavesTheTableLive) {
  if (run("script --version").exit_code != 0) GTEST_SKIP() << "there is no script(1) to make a terminal";
  experiment("a", "sleep 0.5");
  const auto on_terminal = [&](const std::string& environment) {
    return run("env -u NO_COLOR TERM=xterm " + environment + " script -qec \"" + command("--overwrite") +
               "\" /dev/null")
        .output;
  };
  const std::string rewritten = "\x1b[K", bold = "\x1b[1m";
  const std::string coloured = on_terminal("");
  EXPECT_THAT(coloured, HasSubstr(rewritten));
  EXPECT_THAT(coloured, HasSubstr(bold));
  const std::string plain = on_terminal("NO_COLOR=1");
  EXPECT_THAT(plain, HasSubstr(rewritten));
  EXPECT_THAT(plain, Not(HasSubstr(bold)));
  EXPECT_THAT(on_terminal("TERM=dumb"), Not(HasSubstr(rewritten)));
}

TEST_F(RunAllProgram, RunsSeveralAtOnceInTheGivenOrder) {
  // Each waits for the other: one after the other they would never end.
  experiment("a", "touch \"$out/../a.here\"; until [ -e \"$out/../b.here\" ]; do sleep 0.05; done");
  experiment("b", "touch \"$out/../b.here\"; until [ -e \"$out/../a.here\" ]; do sleep 0.05; done");
  const auto outcome = run("timeout 20 " + kRunAll + " " + fake_ +
                           " --interval 0.05 --reversed --device cpu cpu --cfg " + (folder_ / "cfg").string());
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_LT(outcome.output.find("b  started on cpu"), outcome.output.find("a  started on cpu"));
}

TEST_F(RunAllProgram, DryRunStartsNothing) {
  experiment("a");
  experiment("b");
  EXPECT_EQ(run_all().exit_code, 0);
  sfs::remove_all(folder_ / "out/b");
  const auto outcome = run_all("--dry-run");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("2 experiments, 1 of them finished, on cpu"));
  EXPECT_FALSE(sfs::exists(folder_ / "out/b"));
}

TEST_F(RunAllProgram, RefusesWhatCannotWorkBeforeAnythingRuns) {
  experiment("a");
  const auto refused = [&](const std::string& rest, const std::string& message) {
    const auto outcome = run(rest);
    EXPECT_EQ(outcome.exit_code, 2) << outcome.output;
    EXPECT_THAT(outcome.output, HasSubstr(message));
    EXPECT_FALSE(sfs::exists(folder_ / "out/a"));
  };
  const std::string cfg = " --cfg " + (folder_ / "cfg/a.yaml").string();
  refused(kRunAll + " train --device cpu --cfg cfg/exps/sdlora/spidr/*.yaml", "(nearest: spider)");
  refused(kRunAll + " trian" + cfg, "expected train");
  refused(kRunAll + " " + fake_ + " --device gpu" + cfg, "expected numbers of GPUs or cpu, got 'gpu'");
  refused(kRunAll + " " + fake_ + cfg + " -- --output x", "every experiment has its own folder");
  refused(kRunAll + " " + fake_ + cfg + " -- --nonsense", "after --, flags of train are expected");
  refused(kRunAll + " " + fake_ + cfg + " -- --set batch_size=4x", "batch_size: expected");
  write(folder_ / "cfg/b.yaml", read(folder_ / "cfg/a.yaml"));
  refused(command(""), "b.yaml: writes to");
}

// As train needs them; what a device is to another program, run_all does not know.
TEST_F(RunAllProgram, AGpuThatIsNotThereIsSaidOnceBeforeAnythingStarts) {
  experiment("a");
  experiment("b");
  const std::string cfg = " --cfg " + (folder_ / "cfg").string();
  for (const char* check : {"", " -- --dry-run"}) {
    const auto outcome = run(kRunAll + " train --device 90 91" + cfg + check);
    EXPECT_EQ(outcome.exit_code, 2) << outcome.output;
    EXPECT_THAT(outcome.output, HasSubstr("--device 90 91: "));
    EXPECT_THAT(outcome.output, HasSubstr("--device cpu"));
    EXPECT_THAT(outcome.output, Not(HasSubstr("started on")));
  }
  EXPECT_EQ(run(kRunAll + " train --device 90 --dry-run" + cfg).exit_code, 0);  // a plan, perhaps for another machine
  EXPECT_EQ(run(kRunAll + " " + fake_ + " --interval 0.05 --device 90" + cfg).exit_code, 0);
}

TEST_F(RunAllProgram, ChildrenOnFewCoresSpinBrieflyUnlessTheUserSaysOtherwise) {
  experiment("a", "echo \"spins ${GOMP_SPINCOUNT:-long}\" > \"$out/spins\"");
  const std::string alone = std::thread::hardware_concurrency() <= 4 ? "spins 1000\n" : "spins long\n";
  EXPECT_EQ(run("unset GOMP_SPINCOUNT OMP_WAIT_POLICY; " + command("")).exit_code, 0);
  EXPECT_EQ(read(folder_ / "out/a/spins"), alone);
  EXPECT_EQ(run("unset GOMP_SPINCOUNT; OMP_WAIT_POLICY=passive " + command("--overwrite")).exit_code, 0);
  EXPECT_EQ(read(folder_ / "out/a/spins"), "spins long\n");
  EXPECT_EQ(run("GOMP_SPINCOUNT=7 " + command("--overwrite")).exit_code, 0);
  EXPECT_EQ(read(folder_ / "out/a/spins"), "spins 7\n");
}

TEST_F(RunAllProgram, TheDeviceAutoIsTheProcessorWhereThereIsNoGpu) {
  experiment("a", "echo \"spins ${GOMP_SPINCOUNT:-long}, threads ${OMP_NUM_THREADS:-all}\" > \"$out/spins\"");
  const unsigned n_cores = std::thread::hardware_concurrency();
  const std::string start = "unset GOMP_SPINCOUNT OMP_WAIT_POLICY OMP_NUM_THREADS; CUDA_VISIBLE_DEVICES= " + kRunAll +
                            " " + fake_ + " --interval 0.05 --cfg " + (folder_ / "cfg").string();
  const std::string spins = n_cores <= 4 ? "spins 1000" : "spins long";
  EXPECT_EQ(run(start).exit_code, 0);
  EXPECT_EQ(read(folder_ / "out/a/spins"), spins + ", threads all\n");
  EXPECT_EQ(run(start + " --overwrite --device auto cpu").exit_code, 0);
  EXPECT_EQ(read(folder_ / "out/a/spins"), spins + ", threads " + std::to_string(std::max(1U, n_cores / 2)) + "\n");
}

TEST_F(RunAllProgram, WaitsForAGpuThatSomebodyElseUses) {
  experiment("a");
  const std::string busy = folder_.write("busy", "").string();
  const std::string gpu = "LD_LIBRARY_PATH=" MPEFT_FAKE_NVML_DIR ":$LD_LIBRARY_PATH FAKE_NVML_BUSY=" + busy + " ";
  const std::string cfg = " --interval 0.05 --wait_gpu_free --cfg " + (folder_ / "cfg/a.yaml").string();
  const auto outcome =
      run("(sleep 0.6; touch " + (folder_ / "out-before").string() + "; ls " + folder_.path().string() + "; rm " +
          busy + ") & " + gpu + kRunAll + " " + fake_ + " --device 0" + cfg);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("waiting for GPU 0: process 4242"));
  const size_t freed = outcome.output.find("out-before");
  ASSERT_NE(freed, std::string::npos);
  EXPECT_GT(outcome.output.find("a  started on 0"), freed);
  const auto absent = run(gpu + kRunAll + " " + fake_ + " --device 1 --overwrite" + cfg);
  EXPECT_EQ(absent.exit_code, 2);
  EXPECT_THAT(absent.output, HasSubstr("GPU 1: Not Found"));
}

TEST_F(RunAllProgram, WaitingForAGpuNeedsADriver) {
  if (sfs::exists("/proc/driver/nvidia")) GTEST_SKIP() << "there is an NVIDIA driver here";
  experiment("a");
  const auto outcome = run_all("--wait_gpu_free");
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.output, HasSubstr("there is no NVIDIA driver here"));
}

// Real trainings of a second: two experiments that differ in their seed and folder.
class RunAllTrain : public ::testing::Test {
 protected:
  RunAllTrain() {
    const std::string text = read(test::tiny_experiment(folder_));
    for (const char* name : {"one", "two"}) {
      std::string own = text;
      own.replace(own.find((folder_ / "out").string()), (folder_ / "out").string().size(),
                  (folder_ / "out" / name).string());
      folder_.write(std::string("cfg/") + name + ".yaml", own);
    }
    command_ = kRunAll + " train --interval 0.1 --device cpu cpu --cfg " + (folder_ / "cfg").string();
  }
  std::string log(const std::string& name) const { return read(folder_ / ("out/" + name + "/log.txt")); }
  test::TemporaryFolder folder_;
  std::string command_;
};

TEST_F(RunAllTrain, TrainsAndSkipsWhatIsFinished) {
  const auto outcome = run(command_);
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("epoch 2/2  loss 6.3"));
  EXPECT_THAT(outcome.output, HasSubstr("done 2"));
  for (const char* name : {"one", "two"}) EXPECT_TRUE(sfs::exists(folder_ / "out" / name / "model/config.json"));
  const auto again = run(command_);
  EXPECT_EQ(again.exit_code, 0);
  EXPECT_THAT(again.output, HasSubstr("skipped 2"));
}

TEST_F(RunAllTrain, TrainsAFinishedRunLonger) {
  const std::string constant = " -- --set lr_scheduler=constant";
  ASSERT_EQ(run(command_ + constant).exit_code, 0);
  const auto refused = run(command_ + constant + " --set num_epochs=3");
  EXPECT_EQ(refused.exit_code, 2) << refused.output;
  EXPECT_THAT(refused.output, HasSubstr("already finished, with other settings (num_epochs: 2 → 3); --resume trains"));
  const auto longer = run(command_ + " --resume" + constant + " --set num_epochs=3");
  EXPECT_EQ(longer.exit_code, 0) << longer.output;
  EXPECT_THAT(longer.output, HasSubstr("done 2"));
  for (const char* name : {"one", "two"}) EXPECT_THAT(log(name), HasSubstr("resuming from"));
  EXPECT_THAT(run(command_ + " --resume" + constant + " --set num_epochs=3").output, HasSubstr("skipped 2"));
}

TEST_F(RunAllTrain, StartedTwiceTrainsEverythingOnce) {
  const auto outcome =
      run(command_ + " > /dev/null & first=$!; " + command_ + "; second=$?; wait $first; echo codes $? $second");
  EXPECT_THAT(outcome.output, HasSubstr("codes 0 0"));
  for (const char* name : {"one", "two"}) {
    const std::string text = log(name);
    EXPECT_EQ(text.find("saved "), text.rfind("saved ")) << text;
    EXPECT_NE(text.find("saved "), std::string::npos) << text;
  }
}

TEST_F(RunAllTrain, ChecksEveryExperimentWithDryRunForTheChildren) {
  const auto outcome = run(command_ + " -- --dry-run");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("done 2"));
  EXPECT_FALSE(sfs::exists(folder_ / "out"));
  const auto failing = run(command_ + " -- --dry-run --set data_root=/nowhere");
  EXPECT_EQ(failing.exit_code, 3) << failing.output;
  EXPECT_THAT(failing.output, HasSubstr("\n2 experiments (")) << "one reason, said once and whole: no file keeps it";
  EXPECT_THAT(failing.output, HasSubstr("\n  python3 scripts/prepare_data.py dart --output /nowhere"));
  // On a terminal too, where the table is cut.
  if (run("script --version").exit_code != 0) GTEST_SKIP() << "there is no script(1) to make a terminal";
  const std::string shown = run("TERM=xterm script -qec \"stty cols 80 rows 24; " + command_ +
                                " -- --dry-run --set data_root=/nowhere\" /dev/null")
                                .output;
  const size_t reason = shown.find("looked for /nowhere/dart/people-train.json");
  EXPECT_NE(reason, std::string::npos) << shown;
  EXPECT_EQ(reason, shown.rfind("looked for /nowhere/dart/people-train.json")) << shown;
}

TEST_F(RunAllTrain, AnInterruptedStudyGoesOn) {
  // Interrupted in the middle, wherever that is on this machine: after the first checkpoints.
  const std::string longer = " -- --set num_epochs=30";
  const auto has_checkpoint = [&](const char* name) {
    return " ls -d " + (folder_ / "out").string() + "/" + name + "/checkpoint-* ";
  };
  const auto stopped =
      run(command_ + longer + " & pid=$!; until (" + has_checkpoint("one") + "&&" + has_checkpoint("two") +
          ") > /dev/null 2>&1; do sleep 0.05; done; kill -INT $pid; wait $pid; echo code $?");
  EXPECT_THAT(stopped.output, HasSubstr("code 130"));
  EXPECT_THAT(stopped.output, HasSubstr("interrupted 2"));
  const auto resumed = run(command_ + " --resume" + longer);
  EXPECT_EQ(resumed.exit_code, 0) << resumed.output;
  EXPECT_THAT(log("one"), HasSubstr("resuming from"));
}

}  // namespace
}  // namespace mpeft
