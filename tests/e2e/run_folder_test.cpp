// What a run leaves in its folder, and what becomes of a run that was there before.
#include <filesystem>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "e2e/programs.h"

namespace mpeft {
namespace {

namespace sfs = std::filesystem;
using test::kTrain;
using test::read;
using test::run;
using test::tiny_experiment;
using test::write;
using testing::HasSubstr;

TEST(RunFolderProgram, ItsConfigurationDoesNotOverwriteUnasked) {
  const test::TemporaryFolder folder;
  const std::string train = kTrain + " --cfg " + tiny_experiment(folder);
  ASSERT_EQ(run(train + " --overwrite --lock").exit_code, 0);
  const std::string saved = read(folder / "out/cfg.yaml");
  for (const char* flag : {"resume", "overwrite", "lock"})
    EXPECT_THAT(saved, HasSubstr(std::string("\n") + flag + ": false\n"));
  const std::string metrics = read(folder / "out/metrics.jsonl");
  const auto again = run(kTrain + " --cfg " + (folder / "out/cfg.yaml").string());
  EXPECT_EQ(again.exit_code, 0) << again.output;
  EXPECT_THAT(again.output, HasSubstr("already finished"));
  EXPECT_EQ(read(folder / "out/metrics.jsonl"), metrics);
}

TEST(RunFolderProgram, SaysWhenTheSettingsToResumeAreNotKnown) {
  const test::TemporaryFolder folder;
  const std::string train = kTrain + " --cfg " + tiny_experiment(folder);
  ASSERT_EQ(run(train).exit_code, 0);
  std::string manifest = read(folder / "out/manifest.json");
  const std::string finished = "\"finished\": true";
  ASSERT_NE(manifest.find(finished), std::string::npos) << manifest;
  write(folder / "out/manifest.json",
        manifest.replace(manifest.find(finished), finished.size(), "\"finished\": false"));
  const auto file = folder / "out/cfg.yaml";
  sfs::remove(file);
  EXPECT_THAT(run(train + " --resume --dry-run").output,
              HasSubstr(file.string() + " is missing, so only what the checkpoint itself records is compared"));
  write(file, "no_such_key: 1\n");
  EXPECT_THAT(run(train + " --resume --dry-run").output, HasSubstr(file.string() + " cannot be read ("));
}

}  // namespace
}  // namespace mpeft
