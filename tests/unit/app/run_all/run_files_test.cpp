#include "app/run_all/run_files.h"

#include <gtest/gtest.h>

#include "app/run_all/gpu_monitor.h"
#include "support/temporary_folder.h"

namespace mpeft::app {
namespace {

namespace sfs = std::filesystem;

constexpr const char* kTrainLine = R"({"kind":"train","epoch":1,"step":10,"loss":1.5})";

TEST(IsFinishedRunTest, BelievesOnlyAManifestThatSaysSo) {
  const test::TemporaryFolder folder;
  Experiment experiment;
  experiment.output_dir = folder.path();
  EXPECT_FALSE(is_finished_run(experiment));
  for (const char* text : {"{}", "[]", "{\"finished\": 1}", "{\"finished\": false}", "{\"finished\": tr", ""}) {
    folder.write("manifest.json", text);
    EXPECT_FALSE(is_finished_run(experiment)) << text;
  }
  folder.write("manifest.json", R"({"finished": true})");
  EXPECT_TRUE(is_finished_run(experiment));
}

TEST(IsFinishedRunTest, AFewStepsAreNotTheExperiment) {
  const test::TemporaryFolder folder;
  Experiment whole, few_steps;
  whole.output_dir = few_steps.output_dir = folder.path();
  few_steps.debug = true;
  folder.write("manifest.json", R"({"finished": true, "debug": true})");
  EXPECT_FALSE(is_finished_run(whole));
  EXPECT_TRUE(is_finished_run(few_steps));
  folder.write("manifest.json", R"({"finished": true, "debug": false})");
  EXPECT_TRUE(is_finished_run(whole));
  EXPECT_FALSE(is_finished_run(few_steps));
}

TEST(IsFinishedRunTest, OtherSettingsAreForTrainToJudge) {
  const test::TemporaryFolder folder;
  const auto asked = [&](const std::vector<std::string>& set) {
    config::ExperimentOverrides overrides;
    overrides.set = set;
    const auto file = folder.write("x.yaml", "model: m\ndata: dart\noutput_dir: " + folder.path().string() + "\n");
    return load_experiments({file.string()}, overrides).front();
  };
  const Experiment same = asked({}), longer = asked({"num_epochs=20"}), elsewhere = asked({"log_steps=7"});
  folder.write("cfg.yaml", config::dump_yaml(same.config));
  EXPECT_FALSE(is_finished_as_asked(same));
  folder.write("manifest.json", R"({"finished": true})");
  EXPECT_FALSE(is_finished_as_asked(same));  // its result is gone
  Experiment keeps_nothing = same;
  keeps_nothing.no_save = true;
  EXPECT_TRUE(is_finished_as_asked(keeps_nothing));
  sfs::create_directory(folder / "model");
  EXPECT_TRUE(is_finished_as_asked(same));
  EXPECT_TRUE(is_finished_as_asked(elsewhere));
  EXPECT_FALSE(is_finished_as_asked(longer));
  EXPECT_TRUE(is_finished_run(longer));
  sfs::remove(folder / "model");
  folder.write("cfg.yaml", "mode: [");  // nothing to compare
  EXPECT_TRUE(is_finished_as_asked(longer));
}

class RunFollowerTest : public ::testing::Test {
 protected:
  void append(const std::string& text) { std::ofstream(folder_ / "metrics.jsonl", std::ios::app) << text; }
  test::TemporaryFolder folder_;
};

TEST_F(RunFollowerTest, FollowsWhatIsAppended) {
  RunFollower follower(folder_.path());
  EXPECT_FALSE(follower.poll());
  folder_.write("manifest.json", R"({"total_steps": 100, "first_metric": "execution"})");
  append(std::string(kTrainLine) + "\n");
  EXPECT_TRUE(follower.poll());
  EXPECT_EQ(follower.progress().epoch, 1);
  EXPECT_EQ(follower.progress().step, 10);
  EXPECT_EQ(follower.progress().total_steps, 100);
  EXPECT_DOUBLE_EQ(follower.progress().loss, 1.5);
  EXPECT_FALSE(follower.poll());
  append(R"({"kind":"eval","epoch":1,"step":10,"metrics":{"bleu":0.1,"execution":0.6}})"
         "\n");
  append(R"({"kind":"eval","epoch":2,"step":20,"metrics":{"bleu":0.2,"execution":0.5}})"
         "\n");
  EXPECT_TRUE(follower.poll());
  EXPECT_EQ(follower.progress().metric_name, "execution");
  EXPECT_DOUBLE_EQ(follower.progress().metric, 0.5);
  EXPECT_DOUBLE_EQ(follower.progress().best_metric, 0.6);
  EXPECT_EQ(follower.progress().best_epoch, 1);
  EXPECT_EQ(follower.progress().n_evaluations, 2);
  append(R"({"kind":"eval","epoch":3,"step":30,"metrics":{"bleu":0.2,"execution":null}})"
         "\n");  // NaN is never the best
  append(R"({"kind":"eval","epoch":4,"step":40,"metrics":{"bleu":0.2,"execution":0.4}})"
         "\n");
  EXPECT_TRUE(follower.poll());
  EXPECT_DOUBLE_EQ(follower.progress().best_metric, 0.6);
  EXPECT_EQ(follower.progress().best_epoch, 1);
}

TEST_F(RunFollowerTest, WaitsForTheEndOfALine) {
  RunFollower follower(folder_.path());
  append(std::string(kTrainLine).substr(0, 20));
  EXPECT_FALSE(follower.poll());
  append(std::string(kTrainLine).substr(20) + "\n");
  EXPECT_TRUE(follower.poll());
  EXPECT_EQ(follower.progress().step, 10);
}

TEST_F(RunFollowerTest, IgnoresWhatWasThereBeforeAndReadsWhatReplacesIt) {
  append(std::string(kTrainLine) + "\n");
  RunFollower follower(folder_.path());
  EXPECT_FALSE(follower.poll());
  // A resumed run writes the file anew.
  folder_.write("new", R"({"kind":"train","epoch":3,"step":30,"loss":null})"
                       "\n");
  sfs::rename(folder_ / "new", folder_ / "metrics.jsonl");
  EXPECT_TRUE(follower.poll());
  EXPECT_EQ(follower.progress().epoch, 3);
  EXPECT_TRUE(std::isnan(follower.progress().loss));
}

TEST_F(RunFollowerTest, ReadsAFileThatTookThePlaceOfARemovedOne) {
  append(std::string(kTrainLine) + "\n");
  RunFollower follower(folder_.path());
  sfs::remove(folder_ / "metrics.jsonl");  // its inode is free: the next file may get it
  append(std::string(kTrainLine) + "\n");
  EXPECT_TRUE(follower.poll());
  EXPECT_EQ(follower.progress().step, 10);
}

TEST_F(RunFollowerTest, SurvivesLinesThatAreNoRecords) {
  RunFollower follower(folder_.path());
  append("not json\n[1]\n{}\n{\"kind\": 7, \"step\": \"x\"}\n{\"kind\":\"eval\",\"metrics\":[]}\n");
  EXPECT_TRUE(follower.poll());
  EXPECT_EQ(follower.progress().epoch, 0);
}

TEST(PhysicalGpuTest, FollowsCudaVisibleDevices) {
  EXPECT_EQ(physical_gpu("1", nullptr), "1");
  EXPECT_EQ(physical_gpu("1", "3,5"), "5");
  EXPECT_EQ(physical_gpu("0", " GPU-12ab, 2"), "GPU-12ab");
  EXPECT_EQ(physical_gpu("2", "3,5"), "");
  EXPECT_EQ(physical_gpu("1", "-1,0"), "");  // CUDA sees nothing from -1 on
  EXPECT_EQ(physical_gpu("0", ""), "");
}

}  // namespace
}  // namespace mpeft::app
