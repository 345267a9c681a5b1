#include "app/run_all/experiments.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mpeft/core/error.h"

#include "support/temporary_folder.h"

namespace mpeft::app {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class FindExperimentsTest : public ::testing::Test {
 protected:
  FindExperimentsTest() {
    for (const char* name : {"exps/spider/b.yaml", "exps/spider/a.yaml", "exps/spider/notes.txt", "exps/dart/c.yml"}) {
      folder_.write(name, "model: m\ndata: dart\n");
    }
  }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  std::string problem(const std::string& argument) const {
    try {
      find_experiments({path(argument)});
    } catch (const ConfigError& e) {
      return e.what();
    }
    return "no error";
  }
  test::TemporaryFolder folder_;
};

TEST_F(FindExperimentsTest, ExpandsPatternsInOrder) {
  EXPECT_THAT(find_experiments({path("exps/*/*.yaml")}),
              ElementsAre(path("exps/spider/a.yaml"), path("exps/spider/b.yaml")));
  EXPECT_THAT(find_experiments({path("exps/{dart,spider}/[bc].y*ml")}),
              ElementsAre(path("exps/dart/c.yml"), path("exps/spider/b.yaml")));
}

TEST_F(FindExperimentsTest, TakesEveryExperimentBelowAFolder) {
  EXPECT_THAT(find_experiments({path("exps")}),
              ElementsAre(path("exps/dart/c.yml"), path("exps/spider/a.yaml"), path("exps/spider/b.yaml")));
}

TEST_F(FindExperimentsTest, NamesAFileOnceHoweverItIsWritten) {
  EXPECT_THAT(
      find_experiments({path("exps/spider/b.yaml"), path("exps/spider/../spider/b.yaml"), path("exps/spider/*.yaml")}),
      ElementsAre(path("exps/spider/b.yaml"), path("exps/spider/a.yaml")));
}

TEST_F(FindExperimentsTest, SaysWhichPartMatchesNothingAndWhatIsNear) {
  EXPECT_THAT(problem("exps/spidr/*.yaml"), HasSubstr("matches 'spidr' (nearest: spider)"));
  EXPECT_THAT(problem("exps/spider/aa.yaml"), HasSubstr("matches 'aa.yaml' (nearest: a.yaml)"));
  EXPECT_THAT(problem("exps/spider/*.json"), HasSubstr("it holds a.yaml, b.yaml, notes.txt"));
}

TEST_F(FindExperimentsTest, SaysWhatCannotBeLookedInto) {
  EXPECT_THAT(problem("exps/spider/a.yaml/x.yaml"), HasSubstr("exps/spider/a.yaml: Not a directory"));
  std::filesystem::create_symlink("loop", folder_ / "loop");
  EXPECT_THAT(problem("loop/*.yaml"), HasSubstr("loop: Too many levels of symbolic links"));
}

TEST_F(FindExperimentsTest, SaysThatAFolderHoldsNone) {
  folder_.write("empty/readme.txt", "");
  EXPECT_THAT(problem("empty"), HasSubstr("holds no .yaml file"));
}

TEST_F(FindExperimentsTest, CollectsAllProblems) {
  try {
    find_experiments({path("exps/spidr"), path("exps/*/x*.yaml")});
    FAIL();
  } catch (const ConfigError& e) {
    EXPECT_THAT(e.what(), HasSubstr("spidr"));
    EXPECT_THAT(e.what(), HasSubstr("x*.yaml"));
  }
}

TEST(LoadExperimentsTest, ReadsWithTheOverrides) {
  const test::TemporaryFolder folder;
  const auto file = folder.write("cfg/exps/spider/a.yaml", "model: m\ndata: dart\nnum_epochs: 3\n").string();
  const auto experiments = load_experiments({file}, {.set = {"no_save=true"}, .flags = {}});
  ASSERT_EQ(experiments.size(), 1U);
  EXPECT_EQ(experiments[0].name, "spider/a");
  EXPECT_EQ(experiments[0].output_dir, "weights/spider/a");
  EXPECT_EQ(experiments[0].num_epochs, 3);
  EXPECT_TRUE(experiments[0].no_save);
}

TEST(LoadExperimentsTest, CollectsTheProblemsOfAllFiles) {
  const test::TemporaryFolder folder;
  const auto one = folder.write("one.yaml", "model: m\ndata: dart\nlerning_rate: 1\n").string();
  const auto two = folder.write("two.yaml", "model: m\ndata: dart\nbatch_size: 4x\n").string();
  try {
    load_experiments({one, two}, {});
    FAIL();
  } catch (const ConfigError& e) {
    EXPECT_THAT(e.what(), HasSubstr("learning_rate"));
    EXPECT_THAT(e.what(), HasSubstr("4x"));
    EXPECT_THAT(e.what(), HasSubstr("2 of 2 experiments have problems; nothing was started"));
  }
}

TEST(LoadExperimentsTest, RefusesTwoExperimentsInOneFolder) {
  const test::TemporaryFolder folder;
  const auto one = folder.write("one.yaml", "model: m\ndata: dart\noutput_dir: w/x\n").string();
  const auto two = folder.write("two.yaml", "model: m\ndata: dart\noutput_dir: w/y/../x\n").string();
  try {
    load_experiments({one, two}, {});
    FAIL();
  } catch (const ConfigError& e) {
    EXPECT_THAT(e.what(), HasSubstr("two.yaml: writes to w/y/../x, as "));
    EXPECT_THAT(e.what(), HasSubstr("one.yaml does"));
  }
}

}  // namespace
}  // namespace mpeft::app
