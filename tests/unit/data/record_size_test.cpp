// A record that is longer than any example is named before the tokenizer sees it, in every format.
#include <gmock/gmock.h>

#include "data/record_errors.h"
#include "unit/data/dataset_fixture.h"

namespace mpeft::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kReason = "record 2: is 64.0 MiB long, more than 64.0 MiB";

class RecordSizeTest : public DatasetTest {
 protected:
  const std::string long_ = std::string(kMaxRecordBytes + 1, 'a');
};

TEST_F(RecordSizeTest, OfLines) {
  write("glue/SST-2/train.tsv", "sentence\tlabel\nx\t1\n" + long_ + "\t1\n");
  EXPECT_THAT(error_of("glue_sst2", Split::kTrain), HasSubstr(std::string("train.tsv: ") + kReason));
  const auto sentences = read("glue_sst2", Split::kTrain, "{skip_bad_records: 1}");
  EXPECT_EQ(sentences.examples.size(), 1U);
  EXPECT_THAT(sentences.notes, ElementsAre(HasSubstr(kReason)));

  write("t.jsonl", "{\"q\": \"x\", \"a\": \"x\"}\n{\"q\": \"" + long_ + "\", \"a\": \"x\"}\n");
  const std::string error = error_of("jsonl:t.jsonl", Split::kTrain, "{input: '{q}', target: a, val_file: v}");
  EXPECT_EQ(error.find((root_ / "t.jsonl").string() + ": " + kReason + " (--set"), 0U) << error;
}

TEST_F(RecordSizeTest, OfTextsInADocument) {
  write("samsum/train.json", R"([{"summary": "x", "dialogue": "x"}, {"summary": "x", "dialogue": ")" + long_ + "\"}]");
  const auto dialogues = read("samsum", Split::kTrain, "{skip_bad_records: 1}");
  EXPECT_EQ(dialogues.examples.size(), 1U);
  EXPECT_THAT(dialogues.notes, ElementsAre(HasSubstr(kReason)));
}

}  // namespace
}  // namespace mpeft::data
