#include <cstdlib>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "mpeft/core/fs.h"
#include "mpeft/data/split.h"

#include "unit/data/dataset_fixture.h"

namespace mpeft::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class GlueTest : public DatasetTest {};

constexpr const char* kMnliHeader =
    "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\tsentence2_parse"
    "\tsentence1\tsentence2\tlabel1\tgold_label\n";

// One task as it is published, with the quirks of its files.
struct Published {
  const char* task;
  const char* file;
  std::string content;
  std::vector<std::string> inputs;
  std::vector<std::string> targets;
};

std::vector<Published> published() {
  return {
      {"cola",
       "CoLA/train.tsv",
       "gj04\t1\t\tOur friends won't buy this.\ngj04\t0\t*\tThey \"drank the pub.",
       {"Our friends won't buy this.###", "They \"drank the pub.###"},
       {"1", "0"}},
      {"sst2",
       "SST-2/train.tsv",
       "sentence\tlabel\nhide new secretions \t0\n\"quoted\" joy\t1\n",
       {"hide new secretions ###", "\"quoted\" joy###"},
       {"0", "1"}},
      {"mrpc",
       "MRPC/train.tsv",
       "\xEF\xBB\xBFQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n1\t1\t2\tHe said \"no.\tNo, he "
       "said.\r\n0\t3\t4\ta\tb\r\n",
       {"He said \"no.###No, he said.###", "a###b###"},
       {"1", "0"}},
      {"qnli",
       "QNLI/train.tsv",
       "index\tquestion\tsentence\tlabel\n0\tWhen?\tIn 1973.\tentailment\n1\tWho?\tZürich\tnot_entailment\n",
       {"When?###In 1973.###", "Who?###Zürich###"},
       {"0", "1"}},
      {"qqp",
       "QQP/train.tsv",
       "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n0\t1\t2\tHow?\tWhy?\t0\n1\t3\t4\tA question that\nis "
       "broken\tin two\t1\n2\t5\t6\tSame?\tSame??\t1\n",
       {"How?###Why?###", "Same?###Same??###"},
       {"0", "1"}},
      {"mnli",
       "MNLI/train.tsv",
       std::string(kMnliHeader) + "0\tp\tq\tfiction\t(\t)\tR\tR\tOne.\tTwo.\tneutral\tneutral\n"
                                  "1\tp\tq\tfiction\t(\t)\tR\tR\tThree.\tFour.\tneutral\t-\n"
                                  "2\tp\tq\tfiction\t(\t)\tR\tR\tFive.\tSix.\tneutral\tcontradiction\n"
                                  "3\tp\tq\tfiction\t(\t)\tR\tR\tSeven.\tEight.\tneutral\tentailment\n",
       {"One.###Two.###", "Five.###Six.###", "Seven.###Eight.###"},
       {"1", "2", "0"}},
      {"rte",
       "RTE/train.tsv",
       "index\tsentence1\tsentence2\tlabel\n\n0\tNo weapons.\tWeapons.\tnot_entailment\n1\tA pope.\tA man.\tentailment",
       {"No weapons.###Weapons.###", "A pope.###A man.###"},
       {"1", "0"}},
      {"wnli",
       "WNLI/train.tsv",
       "index\tsentence1\tsentence2\tlabel\n0\tI stuck a pin.\tIt hurt.\t1\n1\tx\ty\t0\n",
       {"I stuck a pin.###It hurt.###", "x###y###"},
       {"1", "0"}},
  };
}

TEST_F(GlueTest, EveryTaskIsReadAsPublished) {
  for (const auto& task : published()) {
    SCOPED_TRACE(task.task);
    write(std::string("glue/") + task.file, task.content);
    const auto dataset = read(std::string("glue_") + task.task, Split::kTrain);
    std::vector<std::string> inputs, targets;
    for (const auto& example : dataset.examples) {
      ASSERT_EQ(example.input_parts.size(), 2U);
      EXPECT_TRUE(example.input_parts[0].ends_with("###"));
      inputs.push_back(example.input_parts[1]);
      targets.push_back(example.target);
      EXPECT_THAT(example.references, ElementsAre(example.target));
      EXPECT_EQ(example.group, "");
    }
    EXPECT_EQ(inputs, task.inputs);
    EXPECT_EQ(targets, task.targets);
    EXPECT_FALSE(dataset.end_token_after_target);
    EXPECT_EQ(dataset.classes.size(), std::string(task.task) == "mnli" ? 3U : 2U);
    EXPECT_EQ(dataset.classes[1], "1");
  }
}

TEST_F(GlueTest, MetricsAreThoseOfTheBenchmark) {
  const std::map<std::string, std::vector<std::string>> expected = {
      {"cola", {"matthews"}},      {"mnli", {"accuracy"}}, {"mrpc", {"accuracy", "f1"}}, {"qnli", {"accuracy"}},
      {"qqp", {"accuracy", "f1"}}, {"rte", {"accuracy"}},  {"sst2", {"accuracy"}},       {"wnli", {"accuracy"}}};
  for (const auto& task : published()) {
    write(std::string("glue/") + task.file, task.content);
    EXPECT_EQ(read(std::string("glue_") + task.task, Split::kTrain).metrics, expected.at(task.task));
  }
}

TEST_F(GlueTest, RecordsLeftOutAreCounted) {
  for (const auto& task : published()) write(std::string("glue/") + task.file, task.content);
  const auto qqp = read("glue_qqp", Split::kTrain);
  EXPECT_THAT(qqp.notes, ElementsAre(HasSubstr("QQP/train.tsv: 2 rows broken by a line end")));
  EXPECT_THAT(records_of(qqp), ElementsAre(0, 3));
  const auto mnli = read("glue_mnli", Split::kTrain);
  EXPECT_THAT(mnli.notes, ElementsAre(HasSubstr("1 record without a label (-) skipped")));
  EXPECT_THAT(records_of(mnli), ElementsAre(0, 2, 3));
  EXPECT_THAT(read("glue_rte", Split::kTrain).notes, IsEmpty());
}

TEST_F(GlueTest, MnliIsValidatedOnMatchedAndMismatched) {
  write("glue/MNLI/dev_matched.tsv", std::string(kMnliHeader) + "0\tp\tq\tg\t(\t)\tR\tR\ta\tb\tn\tneutral\n");
  write("glue/MNLI/dev_mismatched.tsv", std::string(kMnliHeader) + "0\tp\tq\tg\t(\t)\tR\tR\tc\td\tn\tentailment\n");
  const auto dataset = read("glue_mnli", Split::kValidation);
  ASSERT_EQ(dataset.examples.size(), 2U);
  EXPECT_EQ(dataset.examples[0].group, "matched");
  EXPECT_EQ(dataset.examples[1].group, "mismatched");
  EXPECT_EQ(dataset.source_files.size(), 2U);
  EXPECT_EQ(read("glue-tvt_mnli", Split::kTest).examples.size(), 2U);
}

TEST_F(GlueTest, PromptAndFolderCanBeChosen) {
  write("mine/train.tsv", "sentence\tlabel\nfine\t1\n");
  const auto dataset = read("glue_sst2", Split::kTrain, "{folder: mine, metrics: [f1]}", "Good?");
  EXPECT_THAT(dataset.examples[0].input_parts, ElementsAre("Good?###", "fine###"));
  EXPECT_THAT(dataset.metrics, ElementsAre("f1"));
}

TEST_F(GlueTest, MalformedRecordsAreNamedOrTolerated) {
  const std::string good = "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tentailment\n";
  const std::pair<const char*, const char*> cases[] = {
      {"1\ta\tentailment", "record 2: 3 columns where 4 are expected"},
      {"1\ta\tb\tc\tentailment", "record 2: 5 columns where 4 are expected"},
      {"1\ta\tb\t1", "record 2: column 'label': expected entailment or not_entailment, got '1'"},
      {"1\ta\tb\t", "record 2: column 'label': expected entailment or not_entailment, got ''"},
      {"1\ta\tb\t\xff\xfe", "got '\xEF\xBF\xBD\xEF\xBF\xBD'"},
  };
  for (const auto& [row, reason] : cases) {
    write("glue/RTE/train.tsv", good + row + "\n");
    EXPECT_THAT(error_of("glue_rte", Split::kTrain), HasSubstr("RTE/train.tsv: record 2: ")) << row;
    EXPECT_THAT(error_of("glue_rte", Split::kTrain), HasSubstr(reason)) << row;
    const auto dataset = read("glue_rte", Split::kTrain, "{skip_bad_records: 1}");
    EXPECT_EQ(dataset.examples.size(), 1U);
    EXPECT_THAT(dataset.notes, ElementsAre(HasSubstr("1 malformed record skipped (first: record 2")));
  }
  write("glue/RTE/train.tsv", good + "1\n2\n3\n");
  EXPECT_THAT(error_of("glue_rte", Split::kTrain, "{skip_bad_records: 2}"), HasSubstr("record 4"));
  // Only so many rows of QQP are known to be broken.
  std::string rows = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n";
  for (int i = 0; i < 33; ++i) rows += "broken\n";
  write("glue/QQP/train.tsv", rows);
  EXPECT_THAT(error_of("glue_qqp", Split::kTrain), HasSubstr("record 33: 1 columns where 6 are expected"));
}

TEST_F(GlueTest, FilesThatAreNotTheFormatAreRefused) {
  write("glue/RTE/train.tsv", "");
  EXPECT_THAT(error_of("glue_rte", Split::kTrain), HasSubstr("RTE/train.tsv: is empty"));
  write("glue/RTE/train.tsv", "index\tsentence1\tsentence2\n0\ta\tb\n");
  EXPECT_THAT(error_of("glue_rte", Split::kTrain),
              HasSubstr("RTE/train.tsv: no column 'label'; the first line names: index, sentence1, sentence2"));
  write("glue/RTE/train.tsv", "index\tsentence1\tsentence2\tlabels\n");
  EXPECT_THAT(error_of("glue_rte", Split::kTrain), HasSubstr("no column 'label' (did you mean 'labels'?)"));
}

TEST_F(GlueTest, WhatIsThereButNoFileIsToldFromWhatIsAbsent) {
  std::filesystem::create_directories(root_ / "glue/RTE/train.tsv");
  EXPECT_EQ(error_of("glue_rte", Split::kTrain),
            (root_ / "glue/RTE/train.tsv").string() + ": is a folder; expected a file");
  write("file", "");
  EXPECT_EQ(error_of("glue_rte", Split::kTrain, "{folder: file/RTE}").find("glue_rte: no train.tsv: looked for"), 0U);
  std::filesystem::create_symlink("loop", root_ / "loop");
  EXPECT_EQ(error_of("glue_rte", Split::kTrain, "{folder: loop}"),
            (root_ / "loop/train.tsv").string() + ": Too many levels of symbolic links");
}

TEST_F(GlueTest, AbsentFilesAndUnpublishedLabelsAreExplained) {
  write("glue/RTE/dev.tsv", "x");
  const std::string absent = error_of("glue_rte", Split::kTrain);
  EXPECT_THAT(absent, HasSubstr("looked for " + (root_ / "glue/RTE/train.tsv").string()));
  EXPECT_THAT(absent, HasSubstr("the folder holds dev.tsv"));
  EXPECT_THAT(absent, HasSubstr("https://gluebenchmark.com/tasks"));
  EXPECT_THAT(absent, HasSubstr("scripts/prepare_data.py glue_rte --output " + root_.string()));
  EXPECT_THAT(error_of("glue_rte", Split::kTest), HasSubstr("not published; glue-tvt_rte tests on"));
}

TEST_F(GlueTest, UnknownTasksGetSuggestions) {
  EXPECT_THAT(error_of("glue", Split::kTrain), HasSubstr("expected a task, as in glue-tvt_rte, got ''"));
  EXPECT_THAT(error_of("glue_rta", Split::kTrain), HasSubstr("got 'rta' (did you mean 'rte'?); there are: cola, mnli"));
  EXPECT_THAT(error_of("glue_rte:x", Split::kTrain), HasSubstr("expected a task"));
  EXPECT_THAT(error_of("glue_rte", Split::kTrain, "{folde: x}"), HasSubstr("did you mean 'folder'"));
}

// A file of as many rows as the published one, of the shortest texts that are allowed.
std::string rows_of(const std::string& task, int64_t n) {
  const std::map<std::string, std::pair<std::string, std::string>> forms = {
      {"rte", {"index\tsentence1\tsentence2\tlabel\n", "0\ta\tb\tentailment\n"}},
      {"mrpc", {"Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n", "1\t1\t2\ta\tb\n"}},
      {"cola", {"", "s\t1\t\ta\n"}},
      {"sst2", {"sentence\tlabel\n", "a\t1\n"}},
      {"qnli", {"index\tquestion\tsentence\tlabel\n", "0\ta\tb\tentailment\n"}},
      {"qqp", {"id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n", "0\t1\t2\ta\tb\t0\n"}},
      {"mnli", {kMnliHeader, "0\t\t\t\t\t\t\t\ta\tb\tn\tneutral\n"}}};
  std::string text = forms.at(task).first;
  for (int64_t i = 0; i < n; ++i) text += forms.at(task).second;
  return text;
}

// The splits of `datasets` and of Python's random, index for index, as read through the data sets themselves.
TEST_F(GlueTest, TvtSplitsOfEveryTaskEqualTheReference) {
  const std::map<std::string, std::string> folders = {{"rte", "RTE"},    {"mrpc", "MRPC"}, {"cola", "CoLA"},
                                                      {"sst2", "SST-2"}, {"qnli", "QNLI"}, {"qqp", "QQP"},
                                                      {"mnli", "MNLI"}};
  const std::map<int64_t, std::string> tasks = {{2490, "rte"},    {3668, "mrpc"},  {8551, "cola"},  {67349, "sst2"},
                                                {104743, "qnli"}, {363846, "qqp"}, {392702, "mnli"}};
  const auto golden = nlohmann::json::parse(fs::read_file(MPEFT_TEST_GOLDEN_DIR "/data/splits.json"));
  int n_checked = 0;
  for (const auto& expected : golden.at("numpy")) {
    const auto task = tasks.find(expected.at("n").get<int64_t>());
    if (task == tasks.end() || expected.at("seed") != 123) continue;
    SCOPED_TRACE(task->second);
    write("glue/" + folders.at(task->second) + "/train.tsv", rows_of(task->second, task->first));
    const std::string name = "glue-tvt_" + task->second;
    EXPECT_EQ(fs::sha256(joined(records_of(read(name, Split::kTrain)))),
              expected.at("train_sha256").get<std::string>());
    EXPECT_EQ(fs::sha256(joined(records_of(read(name, Split::kValidation)))),
              expected.at("test_sha256").get<std::string>());
    ++n_checked;
  }
  EXPECT_EQ(n_checked, 7);
}

TEST_F(GlueTest, SubsetsAreTheFirstOfAShuffleOfTheSplit) {
  write("glue/RTE/train.tsv", rows_of("rte", 2490));
  // A subset of the plain set is the golden one; a subset of `-tvt` shuffles the split.
  const auto plain = records_of(read("glue_rte_1000", Split::kTrain));
  EXPECT_EQ(plain.size(), 1000U);
  EXPECT_EQ(fs::sha256(joined(plain)), "c2c1e11dc08eb6a428ee630cc45d83f7039eb784edcacbe914728c3fb94767d9");
  const auto train = records_of(read("glue-tvt_rte", Split::kTrain));
  const auto subset = records_of(read("glue-tvt_rte_1000", Split::kTrain));
  const auto order = python_shuffle(static_cast<int64_t>(train.size()), 0);
  ASSERT_EQ(subset.size(), 1000U);
  for (size_t i = 0; i < subset.size(); ++i) ASSERT_EQ(subset[i], train[static_cast<size_t>(order[i])]);
  EXPECT_EQ(read("glue-tvt_rte_1000", Split::kValidation).examples.size(), 100U);
}

TEST(GlueRealTest, TheOfficialRteIsReadAndSplitAsTheReference) {
  const char* root = std::getenv("MPEFT_DATA_ROOT");
  const std::string data = root != nullptr ? root : MPEFT_SOURCE_DIR "/data";
  if (!std::filesystem::exists(data + "/glue/RTE/train.tsv")) GTEST_SKIP() << "no RTE below " << data;
  EXPECT_EQ(read_dataset({"glue_rte", Split::kTrain, data, {}, ""}).examples.size(), 2490U);
  EXPECT_EQ(read_dataset({"glue_rte", Split::kValidation, data, {}, ""}).examples.size(), 277U);
  EXPECT_EQ(read_dataset({"glue-tvt_rte", Split::kTest, data, {}, ""}).examples.size(), 277U);
  const auto train = read_dataset({"glue-tvt_rte", Split::kTrain, data, {}, ""});
  EXPECT_TRUE(train.notes.empty());
  EXPECT_EQ(fs::sha256(joined(records_of(train))), "0c5678f67166f2b289dfa7a77f340189b6b640502eaa912a19465ec4332a1b98");
}

}  // namespace
}  // namespace mpeft::data
