#include <cstdlib>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "mpeft/core/fs.h"

#include "unit/data/dataset_fixture.h"

namespace mpeft::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class CifarTest : public DatasetTest {};

// A record whose pixel at (row, column) is (row, column, 100 + row) in red, green and blue.
std::string record(char label) {
  std::string bytes(1, label);
  for (int channel = 0; channel < 3; ++channel) {
    for (int y = 0; y < 32; ++y) {
      for (int x = 0; x < 32; ++x) bytes += static_cast<char>(channel == 0 ? y : channel == 1 ? x : 100 + y);
    }
  }
  return bytes;
}

TEST_F(CifarTest, TheMiddleOfAnImageIsWrittenRowByRowChannelLast) {
  write("cifar-10-batches-bin/test_batch.bin", record('\x09'));
  const auto dataset = read("cifar", Split::kValidation);
  ASSERT_EQ(dataset.examples.size(), 1U);
  const auto& example = dataset.examples[0];
  EXPECT_EQ(example.target, "9");
  EXPECT_TRUE(example.input_parts[0].ends_with("###"));
  ASSERT_TRUE(example.input_parts[1].ends_with("###"));
  const auto numbers = split(example.input_parts[1].substr(0, example.input_parts[1].size() - 3), ' ');
  ASSERT_EQ(numbers.size(), 1728U);
  for (int y = 0; y < 24; ++y) {
    for (int x = 0; x < 24; ++x) {
      const auto at = static_cast<size_t>((y * 24 + x) * 3);
      ASSERT_EQ(numbers[at], str(y + 4));
      ASSERT_EQ(numbers[at + 1], str(x + 4));
      ASSERT_EQ(numbers[at + 2], str(104 + y));
    }
  }
  EXPECT_THAT(dataset.classes, ElementsAre("0", "1", "2", "3", "4", "5", "6", "7", "8", "9"));
  EXPECT_THAT(dataset.metrics, ElementsAre("accuracy"));
  EXPECT_FALSE(dataset.end_token_after_target);
}

TEST_F(CifarTest, ThePublishedBatchesAreReadInOrderAndNumberedThrough) {
  for (int i = 1; i <= 5; ++i)
    write(str("cifar-10-batches-bin/data_batch_", i, ".bin"), record(static_cast<char>(i)) + record('\0'));
  const auto dataset = read("cifar", Split::kTrain);
  std::string targets;
  for (const auto& example : dataset.examples) targets += example.target;
  EXPECT_EQ(targets, "1020304050");
  EXPECT_EQ(joined(records_of(dataset)), "0,1,2,3,4,5,6,7,8,9");
  EXPECT_EQ(dataset.source_files.size(), 5U);
  // random.Random(123).shuffle of ten, as the golden file has it.
  EXPECT_EQ(fs::sha256(joined(records_of(read("cifar-tvt", Split::kTrain)))),
            "3e243fca8c0d037a3ef008522f8c45a72c195e1fe1fe596ebbd8633ec5ddd18a");
  EXPECT_THAT(records_of(read("cifar-tvt", Split::kValidation)), ElementsAre(4, 0));
}

TEST_F(CifarTest, FilesCanBeNamed) {
  write("mine/a.bin", record('\1'));
  write("mine/b.bin", record('\2'));
  const std::string options = "{folder: mine, train_files: [b.bin, a.bin], test_file: a.bin}";
  EXPECT_EQ(read("cifar", Split::kTrain, options).examples[0].target, "2");
  EXPECT_EQ(read("cifar-tvt", Split::kTest, options, "What?").examples[0].input_parts[0], "What?###");
}

TEST_F(CifarTest, MalformedRecordsAreNamedOrTolerated) {
  write("cifar-10-batches-bin/test_batch.bin", record('\1') + record('\x0a') + record('\2'));
  EXPECT_THAT(error_of("cifar", Split::kTest), HasSubstr("test_batch.bin: record 2: label 10: expected 0 to 9"));
  const auto dataset = read("cifar", Split::kTest, "{skip_bad_records: 1}");
  EXPECT_THAT(records_of(dataset), ElementsAre(0, 2));
  EXPECT_THAT(dataset.notes, ElementsAre(HasSubstr("1 malformed record skipped")));
  write("cifar-10-batches-bin/test_batch.bin", record('\1') + "\2\3");
  EXPECT_THAT(error_of("cifar", Split::kTest), HasSubstr("record 2: ends after 2 of 3073 bytes"));
  EXPECT_EQ(read("cifar", Split::kTest, "{skip_bad_records: 1}").examples.size(), 1U);
  write("cifar-10-batches-bin/test_batch.bin", "");
  EXPECT_THAT(error_of("cifar", Split::kTest, "{skip_bad_records: 1}"), HasSubstr("test_batch.bin: is empty"));
}

TEST_F(CifarTest, AbsentFilesAndVariantsAreExplained) {
  write("cifar-10-batches-bin/data_batch_1.bin", record('\1'));
  const std::string absent = error_of("cifar-tvt", Split::kTrain);
  EXPECT_THAT(absent, HasSubstr("looked for " + (root_ / "cifar-10-batches-bin/data_batch_2.bin").string()));
  EXPECT_THAT(absent, HasSubstr("the folder holds data_batch_1.bin (name one with data_options.train_files)"));
  EXPECT_THAT(absent, HasSubstr("prepare_data.py cifar"));
  EXPECT_THAT(error_of("cifar_10x", Split::kTrain), HasSubstr("cifar has no variants"));
}

TEST(CifarRealTest, TheOfficialFilesAreRead) {
  const char* root = std::getenv("MPEFT_DATA_ROOT");
  const std::string data = root != nullptr ? root : MPEFT_SOURCE_DIR "/data";
  if (!std::filesystem::exists(data + "/cifar-10-batches-bin/data_batch_1.bin")) {
    GTEST_SKIP() << "no CIFAR-10 below " << data;
  }
  config::Problems problems;
  const auto options = config::Node::from_string("{train_files: [data_batch_1.bin]}", "x.yaml", problems);
  const auto train = read_dataset({"cifar-tvt", Split::kTrain, data, options, ""});
  const auto validation = read_dataset({"cifar-tvt", Split::kValidation, data, options, ""});
  const auto test = read_dataset({"cifar-tvt", Split::kTest, data, options, ""});
  EXPECT_EQ(validation.examples.size() * 4, train.examples.size());
  EXPECT_GE(test.examples.size(), 1000U);
  // The first image of the published data_batch_1 is a frog (6), of test_batch a cat (3).
  for (const auto* part : {&train, &validation}) {
    for (const auto& example : part->examples) {
      if (example.record == 0) {
        EXPECT_EQ(example.target, "6");
      }
    }
  }
  EXPECT_EQ(test.examples[0].target, "3");
}

}  // namespace
}  // namespace mpeft::data
