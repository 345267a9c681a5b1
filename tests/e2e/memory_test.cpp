#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "e2e/programs.h"
#include "support/temporary_folder.h"

namespace mpeft::test {
namespace {

using ::testing::HasSubstr;

// 8 TB for the embedding. Before the program had a FLAGS_minloglevel of its own (sentencepiece_tokenizer.cpp) this
// ended it by SIGABRT.
TEST(Programs, TooLittleMemoryIsAnErrorLikeOthers) {
  const TemporaryFolder folder;
  write(folder / "huge.yaml", "d_model: 131072\nn_layer: 1\nvocab_size: 16777216\n");
  for (const std::string& program :
       {kMpeft + " params --model ", kTrain + " --cfg " + tiny_experiment(folder) + " --model "}) {
    const auto outcome = run(program + (folder / "huge.yaml").string());
    EXPECT_EQ(outcome.exit_code, 1) << outcome.output;
    EXPECT_THAT(outcome.output, HasSubstr("error: out of memory: "));
    EXPECT_THAT(outcome.output, HasSubstr("8796093022208 bytes"));
    EXPECT_THAT(outcome.output, HasSubstr("smaller batch"));
  }
}

}  // namespace
}  // namespace mpeft::test
