// What a run leaves in its folder, and what becomes of a run that was there before.
#include <filesystem>
#include <string>
#include <vector>

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
using testing::Not;
using testing::UnorderedElementsAre;

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

TEST(RunFolderProgram, ARunReplacesOneThatWasOnlyToSeeThatItRuns) {
  const test::TemporaryFolder folder;
  const std::string train = kTrain + " --cfg " + tiny_experiment(folder);
  ASSERT_EQ(run(train + " --debug").exit_code, 0);
  const std::string debug = read(folder / "out/manifest.json");
  EXPECT_EQ(run(train + " --dry-run").exit_code, 0);
  EXPECT_EQ(read(folder / "out/manifest.json"), debug);
  const std::string flags = train.substr(kTrain.size());
  for (const std::string& command : {train, test::kRunAll + " train --device cpu" + flags}) {
    ASSERT_EQ(run(train + " --debug --overwrite").exit_code, 0);
    const auto outcome = run(command);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
    EXPECT_THAT(read(folder / "out/cfg.yaml"), HasSubstr("\ndebug: false\n")) << command;
    EXPECT_THAT(read(folder / "out/log.txt"), Not(HasSubstr("debug")));
  }
  EXPECT_THAT(run(train + " --debug").output, HasSubstr("already finished, with other settings (debug: false → true)"));
}

TEST(RunFolderProgram, OverwritingDoesNotRemoveWhatTheRunReads) {
  const test::TemporaryFolder folder;
  const std::string train = kTrain + " --cfg " + tiny_experiment(folder);
  ASSERT_EQ(run(train).exit_code, 0);
  const auto base = folder / "out/model";
  const std::string on_it = train + " --overwrite --set peft=cfg/quickstart/lora.json --model " + base.string();
  for (const char* dry_run : {"", " --dry-run"}) {
    const auto outcome = run(on_it + dry_run);
    EXPECT_EQ(outcome.exit_code, 2) << outcome.output;
    EXPECT_THAT(outcome.output, HasSubstr("starting anew would remove " + base.string()));
    EXPECT_THAT(outcome.output, HasSubstr("name another folder with --output"));
    EXPECT_TRUE(sfs::exists(base / "model.safetensors"));
  }
  EXPECT_EQ(run(on_it + " --output " + (folder / "other").string()).exit_code, 0);
  // nor does a run in the folder of one that is not finished and saved no checkpoint
  write(folder / "out/manifest.json", "{}");
  for (const auto& entry : sfs::directory_iterator(folder / "out")) {
    if (entry.path().filename().string().starts_with("checkpoint-")) sfs::remove_all(entry.path());
  }
  EXPECT_EQ(run(train + " --model " + base.string()).exit_code, 2);
  EXPECT_TRUE(sfs::exists(base / "model.safetensors"));
}

TEST(RunFolderProgram, WhatAKilledWriterLeftGoesAndNothingElse) {
  const test::TemporaryFolder folder;
  const std::string train = kTrain + " --cfg " + tiny_experiment(folder);
  const auto place = [&](const std::string& name) { write(folder / ("out/" + name), "x"); };
  sfs::create_directories(folder / "out/.model.tmp-4711");
  place("manifest.json");
  for (const char* left : {".manifest.json.tmp-12", ".adapter.old-1", ".predictions-5.jsonl.tmp-99"}) place(left);
  for (const char* other : {".notes.tmp-12", ".model.tmp-x", "notes.tmp-3", ".gitignore"}) place(other);
  ASSERT_EQ(run(train).exit_code, 0);
  std::vector<std::string> hidden;
  for (const auto& entry : sfs::directory_iterator(folder / "out")) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with('.') || name.starts_with("notes")) hidden.push_back(name);
  }
  EXPECT_THAT(hidden, UnorderedElementsAre(".lock", ".notes.tmp-12", ".model.tmp-x", "notes.tmp-3", ".gitignore"));
}

TEST(RunFolderProgram, SaysThatItRemovesEvaluationsOfAnUnsavedRun) {
  const test::TemporaryFolder folder;
  const std::string train = kTrain + " --cfg " + tiny_experiment(folder);
  ASSERT_EQ(run(train + " --dry-run").exit_code, 0);
  sfs::create_directories(folder / "out");
  write(folder / "out/manifest.json", "{}");
  write(folder / "out/metrics.jsonl", R"({"kind":"eval","epoch":1,"step":5,"metrics":{"bleu":0.5}})"
                                      "\n");
  EXPECT_THAT(run(train).output, HasSubstr("removed the 1 evaluations of a run that saved no checkpoint"));
}

}  // namespace
}  // namespace mpeft
