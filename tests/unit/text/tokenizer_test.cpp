#include <gmock/gmock.h>

#include "unit/text/text_fixture.h"

namespace mpeft::text {
namespace {

using ::testing::HasSubstr;

std::string message_of(const std::string& path) {
  try {
    make_tokenizer(path);
    return "";
  } catch (const DataError& e) {
    return e.what();
  }
}

class MakeTokenizerTest : public TemporaryFolder {};

TEST_F(MakeTokenizerTest, SaysWhatWasLookedFor) {
  EXPECT_THAT(message_of((folder_ / "absent").string()), HasSubstr("no such file or folder"));
  const std::string message = message_of(folder_.string());
  for (const char* name : {"tokenizer.json", "20B_tokenizer.json", "spiece.model", "tokenizer.model"}) {
    EXPECT_THAT(message, HasSubstr(name));
  }
}

TEST_F(MakeTokenizerTest, FindsTheFileInAFolder) {
  write("tokenizer.model", fs::read_file(golden("tiny_spm.model")));
  EXPECT_EQ(make_tokenizer(folder_.string())->eos_id(), 2);
  write("20B_tokenizer.json", fs::read_file(golden("tiny_tokenizer.json")));
  EXPECT_EQ(make_tokenizer(folder_.string())->eos_id(), 0);
}

TEST_F(MakeTokenizerTest, JudgesOtherNamesByTheContent) {
  EXPECT_EQ(make_tokenizer(write("bpe.txt", fs::read_file(golden("tiny_tokenizer.json"))))->eos_id(), 0);
  EXPECT_EQ(make_tokenizer(write("unigram", fs::read_file(golden("tiny_spm.model"))))->eos_id(), 2);
}

TEST_F(MakeTokenizerTest, RefusesHugeFilesWithoutReadingThem) {
  const std::string path = write("tokenizer.json", "{}");
  std::filesystem::resize_file(path, uint64_t{1} << 40);  // sparse
  EXPECT_THAT(message_of(path), HasSubstr("larger than the limit"));
}

TEST_F(MakeTokenizerTest, ReadsTheSampleTokenizer) {
  const auto tokenizer = make_tokenizer(MPEFT_SOURCE_DIR "/data/sample/tokenizer.json");
  EXPECT_EQ(tokenizer->eos_id(), 0);
  EXPECT_GE(tokenizer->vocab_size(), 512);
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("Ada : lives in : Turin"), false), "Ada : lives in : Turin");
}

}  // namespace
}  // namespace mpeft::text
