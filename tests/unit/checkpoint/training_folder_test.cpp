#include "mpeft/checkpoint/training_folder.h"

#include <sys/wait.h>
#include <unistd.h>

#include "mpeft/checkpoint/adapter_folder.h"

#include "unit/checkpoint/test_tools.h"

namespace mpeft::checkpoint {
namespace {

TrainingState state_of(int64_t step) {
  return {{{"optimizer", {{"exp_avg", at::full({64}, static_cast<double>(step))}}},
           {"rng", {{"cpu", at::zeros({8}, at::kByte)}}}},
          str("{\"step\": ", step, "}")};
}

void write(const std::filesystem::path& run, int64_t step) {
  write_training_folder(run, step, [&](const auto& folder) {
    write_training_state(folder, state_of(step));
    write_adapter_folder(folder / "adapter", {"{}", {{"w", at::ones({2})}}});
  });
}

std::vector<int64_t> steps_in(const std::filesystem::path& run) {
  std::vector<int64_t> steps;
  for (const TrainingFolder& folder : list_training_folders(run)) steps.push_back(folder.step);
  return steps;
}

// Runs `action` in a child that dies, as by a power cut, when `action` returns or throws.
template <typename Action>
void crash_after(const Action& action) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    try {
      action();
    } catch (...) {
    }
    ::_exit(9);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
}

TEST(TrainingFolder, RoundTripIsBitwise) {
  const TemporaryFolder run;
  write(run.path(), 100);
  const auto latest = latest_training_folder(run.path());
  ASSERT_TRUE(latest.has_value());
  EXPECT_EQ(latest->step, 100);
  EXPECT_EQ(latest->path, run / "checkpoint-100");
  const TrainingState state = read_training_state(latest->path);
  EXPECT_EQ(state.json, "{\"step\": 100}");
  ASSERT_EQ(state.tensors.size(), 2u);
  expect_same_tensors(state.tensors.at("optimizer"), state_of(100).tensors.at("optimizer"));
  expect_same_tensors(state.tensors.at("rng"), state_of(100).tensors.at("rng"));
  EXPECT_EQ(read_adapter_folder(latest->path / "adapter").tensors.size(), 1u);
}

TEST(TrainingFolder, FoldersAreListedByNumberAndOthersIgnored) {
  const TemporaryFolder run;
  for (const int64_t step : {1000, 20, 3}) write(run.path(), step);
  for (const char* other : {"checkpoint-", "checkpoint-x", "checkpoint-07", "checkpoint--1", "checkpoint-5.tmp",
                            "checkpoint-99999999999999999999", "best"}) {
    std::filesystem::create_directory(run / other);
  }
  run.write("checkpoint-8", "a file");
  EXPECT_EQ(steps_in(run.path()), (std::vector<int64_t>{3, 20, 1000}));
  EXPECT_TRUE(list_training_folders(run / "nothing").empty());
  EXPECT_FALSE(latest_training_folder(run / "nothing").has_value());
}

TEST(TrainingFolder, ACrashWhileWritingLeavesTheOneBefore) {
  const TemporaryFolder run;
  write(run.path(), 1);
  crash_after([&] {
    write_training_folder(run.path(), 2, [&](const auto& folder) {
      write_training_state(folder, state_of(2));
      ::_exit(9);
    });
  });
  EXPECT_EQ(steps_in(run.path()), std::vector<int64_t>{1});
  EXPECT_EQ(latest_training_folder(run.path())->step, 1);
  EXPECT_EQ(fs::list_folder(run.path()).size(), 2u);  // and what the dead writer left
  prune_training_folders(run.path(), 0);
  EXPECT_EQ(fs::list_folder(run.path()), std::vector<std::string>{"checkpoint-1"});
}

TEST(TrainingFolder, AnExceptionWhileWritingLeavesNothing) {
  const TemporaryFolder run;
  EXPECT_THROW(write_training_folder(run.path(), 2, [](const auto&) { throw std::runtime_error("disk full"); }),
               std::runtime_error);
  EXPECT_TRUE(fs::list_folder(run.path()).empty());
}

TEST(TrainingFolder, ADamagedCheckpointIsPassedOverWithItsReason) {
  const TemporaryFolder run;
  for (const int64_t step : {1, 2, 3, 4, 5}) write(run.path(), step);
  const auto error = [&](int64_t step) {
    return error_of(run.path(), [&] { verify_training_folder(run / str("checkpoint-", step)); });
  };
  std::filesystem::resize_file(run / "checkpoint-5/optimizer.safetensors", 10);
  EXPECT_EQ(error(5), "<dir>/checkpoint-5/optimizer.safetensors: 10 bytes, expected " +
                          std::to_string(std::filesystem::file_size(run / "checkpoint-4/optimizer.safetensors")));
  std::string bytes = fs::read_file(run / "checkpoint-4/optimizer.safetensors");
  bytes.back() ^= 1;
  run.write("checkpoint-4/optimizer.safetensors", bytes);
  EXPECT_EQ(error(4), "<dir>/checkpoint-4/optimizer.safetensors: does not match its SHA-256 checksum");
  std::filesystem::remove(run / "checkpoint-3/adapter/adapter_config.json");
  EXPECT_EQ(error(3), "<dir>/checkpoint-3/adapter/adapter_config.json: is missing: No such file or directory");
  std::filesystem::remove(run / "checkpoint-2/files.json");
  EXPECT_EQ(error(2), "<dir>/checkpoint-2/files.json: cannot be opened: No such file or directory");

  testing::internal::CaptureStderr();
  EXPECT_EQ(latest_training_folder(run.path())->step, 1);
  const std::string warnings = testing::internal::GetCapturedStderr();
  for (const char* folder : {"checkpoint-5", "checkpoint-4", "checkpoint-3", "checkpoint-2"}) {
    EXPECT_NE(warnings.find(std::string(folder) + " is damaged and passed over, going back"), std::string::npos)
        << warnings;
  }
  std::filesystem::remove(run / "checkpoint-1/state.json");
  EXPECT_FALSE(latest_training_folder(run.path()).has_value());
}

TEST(TrainingFolder, HostileManifestsAreErrors) {
  const TemporaryFolder run;
  write(run.path(), 1);
  const auto error_with = [&](const std::string& manifest) {
    run.write("checkpoint-1/files.json", manifest);
    return error_of(run.path(), [&] { verify_training_folder(run / "checkpoint-1"); });
  };
  const std::string where = "<dir>/checkpoint-1/files.json: ";
  EXPECT_EQ(error_with("{}"), where + "expected version 1");
  EXPECT_EQ(error_with(R"({"version":1})"), where + "'files' is missing or not an object");
  EXPECT_EQ(error_with(R"({"version":1,"files":{"a":1}})"), where + "'a': expected 'size' and 'sha256'");
  EXPECT_EQ(error_with(R"({"version":1,"files":{"../../x":{"size":1,"sha256":""}}})"),
            where + "refused: '../../x' leads out of the folder");
  EXPECT_EQ(error_with(R"({"version":1,"files":{"/etc/passwd":{"size":1,"sha256":""}}})"),
            where + "refused: '/etc/passwd' leads out of the folder");
}

TEST(TrainingFolder, PruningKeepsTheNewestAndTheNamed) {
  const TemporaryFolder run;
  for (int64_t step = 1; step <= 6; ++step) write(run.path(), step);
  prune_training_folders(run.path(), 0);
  EXPECT_EQ(steps_in(run.path()).size(), 6u);
  prune_training_folders(run.path(), 2, {3});
  EXPECT_EQ(steps_in(run.path()), (std::vector<int64_t>{3, 5, 6}));
  prune_training_folders(run.path(), 10);
  EXPECT_EQ(steps_in(run.path()), (std::vector<int64_t>{3, 5, 6}));
  prune_training_folders(run.path(), 1);
  EXPECT_EQ(fs::list_folder(run.path()), std::vector<std::string>{"checkpoint-6"});
}

TEST(TrainingFolder, PruningSparesFoldersBeingWritten) {
  const TemporaryFolder run;
  std::filesystem::create_directory(run / str(".checkpoint-7.tmp-", ::getpid()));
  std::filesystem::create_directory(run / ".removing-checkpoint-1");
  std::filesystem::create_directory(run / ".other");
  prune_training_folders(run.path(), 1);
  EXPECT_EQ(fs::list_folder(run.path()).size(), 2u);
  EXPECT_FALSE(std::filesystem::exists(run / ".removing-checkpoint-1"));
}

TEST(TrainingFolder, TheSameStepCanBeWrittenAgain) {
  const TemporaryFolder run;
  write(run.path(), 1);
  write_training_folder(run.path(), 1, [](const auto& folder) {
    write_training_state(folder, {{}, "{\"again\": true}"});
  });
  EXPECT_EQ(read_training_state(latest_training_folder(run.path())->path).json, "{\"again\": true}");
}

TEST(TrainingFolder, TheStateMustBeJson) {
  const TemporaryFolder run;
  EXPECT_EQ(error_of(run.path(),
                     [&] {
                       write_training_state(run.path(), {{}, "[1]"});
                     }),
            "<dir>/state.json: expected a JSON object, found array");
}

}  // namespace
}  // namespace mpeft::checkpoint
