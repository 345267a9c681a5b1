#include "train/out_of_memory.h"

#include <gtest/gtest.h>

#include "mpeft/checkpoint/training_folder.h"

#include "support/temporary_folder.h"

namespace mpeft::train {
namespace {

constexpr const char* kLibrary =
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB of which 1.20 GiB is "
    "free. "
    "Including non-PyTorch memory, this process has 77.90 GiB memory in use.";

TEST(OutOfMemoryTest, SaysWhereHowMuchAndWhatToTry) {
  const test::TemporaryFolder folder;
  const OutOfMemoryPlace place{.step = 11,
                               .rows = 32,
                               .seqlen = 1536,
                               .batch_size = 32,
                               .gradient_accumulation_steps = 2,
                               .output_dir = folder.path()};
  EXPECT_EQ(
      out_of_memory_message(place, kLibrary),
      "out of GPU memory at step 12 (Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB of which "
      "1.20 GiB is free): batch 32 × 1,536 tokens\n"
      "  try --set batch_size=8 --set gradient_accumulation_steps=8");
}

TEST(OutOfMemoryTest, NamesTheCheckpointThatIsSafe) {
  const test::TemporaryFolder folder;
  checkpoint::write_training_folder(folder.path(), 7, [](const std::filesystem::path& path) {
    checkpoint::write_training_state(path, {.tensors = {}, .json = "{}"});
  });
  const auto text = out_of_memory_message({.step = 7,
                                           .rows = 1,
                                           .seqlen = 9,
                                           .batch_size = 1,
                                           .gradient_accumulation_steps = 1,
                                           .output_dir = folder.path()},
                                          "");
  EXPECT_NE(text.find("the last checkpoint is intact: " + (folder / "checkpoint-7").string()), std::string::npos)
      << text;
  EXPECT_NE(text.find("--set max_length"), std::string::npos) << text;
}

TEST(OutOfMemoryTest, AdvisesTheEvaluationsBatchInAnEvaluation) {
  const test::TemporaryFolder folder;
  const auto text = out_of_memory_message({.step = 40, .output_dir = folder.path()}, kLibrary);
  EXPECT_NE(text.find("in the evaluation after step 40"), std::string::npos) << text;
  EXPECT_NE(text.find("eval_batch_size"), std::string::npos) << text;
}

}  // namespace
}  // namespace mpeft::train
