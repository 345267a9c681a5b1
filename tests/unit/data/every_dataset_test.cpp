// What every registered data set does, on the records that data/sample holds in its format.

#include <map>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mpeft/core/fs.h"
#include "mpeft/data/collator.h"

#include "unit/data/dataset_fixture.h"
#include "unit/data/fake_tokenizer.h"

namespace mpeft::data {
namespace {

using testing::HasSubstr;

constexpr const char* kSampleRoot = MPEFT_SOURCE_DIR "/data/sample";

/// How the sample of a set is asked for.
struct Sample {
  std::string name;
  std::string options;
};

Sample sample_of(const std::string& set) {
  static const std::map<std::string, Sample> kSamples = {
      {"cifar", {"cifar", "train_files: [data_batch_1.bin]"}},
      {"dart", {"dart", "train_file: trips-train.json, val_file: trips-dev.json"}},
      {"glue", {"glue_rte", "folder: glue/RTE"}},
      {"jsonl", {"jsonl:jsonl/questions-{split}.jsonl", "input: '{context}###{question}', target: answers"}},
      {"samsum", {"samsum", "folder: samsum"}},
      {"spider", {"spider", "folder: spider"}},
  };
  const auto found = kSamples.find(set);
  if (found == kSamples.end()) ADD_FAILURE() << set << ": put a sample into data/sample and say here how it is read";
  return found == kSamples.end() ? Sample{} : found->second;
}

class EveryDataset : public testing::TestWithParam<std::string> {
 protected:
  TextDataset read(Split split, const std::string& more = "", const std::string& prompt = "",
                   const std::string& root = kSampleRoot) const {
    config::Problems problems;
    const auto options = config::Node::from_string("{" + sample_.options + more + "}", "x.yaml", problems);
    return read_dataset({sample_.name, split, root, options, prompt});
  }
  std::string error_of(const std::string& more, const std::string& root = kSampleRoot) const {
    try {
      read(Split::kTrain, more, "", root);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  }

  Sample sample_ = sample_of(GetParam());
};

TEST_P(EveryDataset, TrainsAndValidatesOnItsSample) {
  for (const Split split : {Split::kTrain, Split::kValidation}) {
    const auto dataset = read(split);
    ASSERT_FALSE(dataset.examples.empty());
    EXPECT_FALSE(dataset.metrics.empty());
    ASSERT_FALSE(dataset.source_files.empty());
    for (const auto& file : dataset.source_files) EXPECT_TRUE(std::filesystem::exists(file)) << file;
    for (const auto& example : dataset.examples) {
      ASSERT_FALSE(example.input_parts.empty());
      for (const auto& part : example.input_parts) ASSERT_TRUE(part.ends_with(kSeparator));
      ASSERT_FALSE(example.target.empty());
      ASSERT_EQ(example.references.front(), example.target);
    }
  }
}

TEST_P(EveryDataset, CarriesLossOnTheTargetAndNothingElse) {
  const auto dataset = read(Split::kTrain);
  const FakeTokenizer tokenizer;
  const auto tokens = tokenize(dataset, tokenizer, {.for_training = false});
  ASSERT_EQ(tokens.examples.size(), dataset.examples.size());
  for (size_t i = 0; i < tokens.examples.size(); ++i) {
    const auto batch = collate({&tokens.examples[i]}, tokenizer.eos_id());
    std::vector<text::TokenId> learned;
    for (const int64_t label : batch.labels) {
      if (label != kIgnoreLabel) learned.push_back(static_cast<text::TokenId>(label));
    }
    const std::string end = dataset.end_token_after_target ? "<end>" : "";
    ASSERT_EQ(tokenizer.decode(learned, false), dataset.examples[i].target + end);
    const std::vector<text::TokenId> prompt(tokens.examples[i].ids.begin(),
                                            tokens.examples[i].ids.begin() + tokens.examples[i].prompt_length);
    ASSERT_EQ(tokenizer.decode(prompt, false), join(dataset.examples[i].input_parts, ""));
  }
}

TEST_P(EveryDataset, ClassesAreDifferentTextsWithoutEndTokenAndEveryTargetIsOne) {
  const auto dataset = read(Split::kTrain);
  if (dataset.classes.empty()) GTEST_SKIP() << "texts, not classes";
  const std::set<std::string> classes(dataset.classes.begin(), dataset.classes.end());
  EXPECT_EQ(classes.size(), dataset.classes.size());
  EXPECT_FALSE(dataset.end_token_after_target);
  for (const auto& example : dataset.examples) {
    EXPECT_EQ(example.references.size(), 1U);
    EXPECT_TRUE(classes.contains(example.target)) << example.target;
  }
}

TEST_P(EveryDataset, IsTheSameEveryTime) {
  const auto once = read(Split::kTrain), again = read(Split::kTrain);
  ASSERT_EQ(once.examples.size(), again.examples.size());
  for (size_t i = 0; i < once.examples.size(); ++i) {
    EXPECT_EQ(once.examples[i].input_parts, again.examples[i].input_parts);
    EXPECT_EQ(once.examples[i].record, again.examples[i].record);
  }
}

TEST_P(EveryDataset, TakesTheOptionsOfAllSets) {
  const auto dataset = read(Split::kTrain, ", metrics: [bleu], train_slice: {first: 3}, skip_bad_records: 2", "Do it.");
  EXPECT_EQ(dataset.examples.size(), 3U);
  EXPECT_EQ(dataset.metrics, std::vector<std::string>{"bleu"});
  for (const auto& example : dataset.examples) {
    ASSERT_EQ(example.input_parts.size(), 2U);
    EXPECT_EQ(example.input_parts[0], "Do it.###");
  }
  EXPECT_THAT(error_of(", train_slise: {first: 3}"), HasSubstr("did you mean 'train_slice'"));
}

TEST_P(EveryDataset, SaysWhereItLookedForAnAbsentFile) { EXPECT_THAT(error_of("", "/nowhere"), HasSubstr("/nowhere")); }

INSTANTIATE_TEST_SUITE_P(Registered, EveryDataset, testing::ValuesIn(dataset_names()),
                         [](const auto& test_case) { return test_case.param; });

}  // namespace
}  // namespace mpeft::data
