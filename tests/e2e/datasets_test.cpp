// Every kind of data set from `train` to its metrics, on the samples in the official formats.

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "e2e/programs.h"

namespace mpeft {
namespace {

namespace sfs = std::filesystem;
using nlohmann::json;
using test::kMpeft;
using test::kTrain;
using test::run;
using ::testing::HasSubstr;

// A tiny model on a sample; one epoch unless `more` says otherwise.
std::string experiment(const test::TemporaryFolder& folder, const std::string& data, const std::string& options,
                       const std::string& more = "") {
  test::write(folder / "model.yaml", "d_model: 32\nn_layer: 2\nvocab_size: 1024\n");
  const std::string cfg = (folder / "x.yaml").string();
  test::write(cfg, "model: " + (folder / "model.yaml").string() +
                       "\ntokenizer: data/sample/tokenizer.json\ndata_root: data/sample\ndata: '" + data +
                       "'\ndata_options: {" + options + "}\nbatch_size: 4\nlearning_rate: 0.003\nprec: fp32\n" +
                       "log_steps: 1\ndevice: cpu\nno_save: false\noutput_dir: " + (folder / "out").string() + "\n" +
                       (more.empty() ? "num_epochs: 1\n" : more));
  return cfg;
}

json last_line(const std::filesystem::path& path) {
  json last;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) last = json::parse(line);
  return last;
}

// The document that a command printed after what it logged.
json document_of(const std::string& output) { return json::parse(output.substr(output.find("{\""))); }

TEST(DatasetRuns, RteTrainsToAllReadingsOfAccuracyAndEvalFindsThemAgain) {
  const test::TemporaryFolder folder;
  const std::string cfg = experiment(folder, "glue_rte", "train_slice: {first: 24}, val_slice: {first: 7}");
  const auto outcome = run(kTrain + " --cfg " + cfg);
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  const json metrics = last_line(folder / "out/metrics.jsonl").at("metrics");
  for (const char* name : {"accuracy", "accuracy_reference", "accuracy_choices", "out_of_class"})
    EXPECT_TRUE(metrics.contains(name)) << metrics;

  const auto predictions = folder / "out/predictions-6.jsonl";
  std::ifstream file(predictions);
  int n = 0;
  for (std::string line; std::getline(file, line); ++n) {
    const json prediction = json::parse(line);
    EXPECT_EQ(prediction.at("class_scores").size(), 2U);
    EXPECT_LT(prediction.at("class_scores").at("1").get<double>(), 0);
    EXPECT_THAT(prediction.at("input").get<std::string>(), HasSubstr("###"));
  }
  EXPECT_EQ(n, 7);

  const std::string eval = kMpeft + " eval --json ";
  const auto again = run(eval + "--device cpu --cfg " + cfg + " --checkpoint " + (folder / "out").string() +
                         " --set eval_batch_size=2 2>/dev/null");
  ASSERT_EQ(again.exit_code, 0) << again.output;
  EXPECT_EQ(document_of(again.output).at("metrics"), metrics) << "a batch of any size";
  const auto rescored = run(eval + "--metrics accuracy --predictions " + predictions.string());
  ASSERT_EQ(rescored.exit_code, 0) << rescored.output;
  EXPECT_EQ(document_of(rescored.output).at("metrics"), metrics);
  const auto by_default = run(eval + "--predictions " + predictions.string());
  ASSERT_EQ(by_default.exit_code, 0) << by_default.output;
  EXPECT_EQ(document_of(by_default.output).at("metrics"), metrics) << "those of the run";
  sfs::copy(predictions, folder / "alone.jsonl");
  const auto alone = run(eval + "--predictions " + (folder / "alone.jsonl").string());
  EXPECT_EQ(alone.exit_code, 2);
  EXPECT_THAT(alone.output, HasSubstr("which metrics? There is no evaluation in a metrics.jsonl beside"));
  const auto scored = run(kMpeft + " score accuracy --json --predictions " + predictions.string());
  EXPECT_EQ(document_of(scored.output).at("metrics"), metrics);
}

TEST(DatasetRuns, AFloorForTheFirstMetricStopsTheRun) {
  const test::TemporaryFolder folder;
  const std::string cfg = experiment(folder, "glue_rte", "train_slice: {first: 8}, val_slice: {first: 4}",
                                     "num_epochs: 2\nmin_eval_metric_after_epoch: {1: 1.5}\n");
  const auto outcome = run(kTrain + " --cfg " + cfg);
  EXPECT_EQ(outcome.exit_code, 4) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("accuracy is "));
  EXPECT_THAT(outcome.output, HasSubstr("below the 1.5 that min_eval_metric_after_epoch asks for"));
}

TEST(DatasetRuns, SamsumTrainsToRouge) {
  const test::TemporaryFolder folder;
  const std::string cfg =
      experiment(folder, "samsum", "train_slice: {first: 8}, val_slice: {first: 3}",
                 "num_epochs: 1\neval_gen: {num_beams: 1, max_new_tokens: 8}\nmin_eval_metric_after_epoch: {1: -1}\n");
  const auto outcome = run(kTrain + " --cfg " + cfg);
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  const json metrics = last_line(folder / "out/metrics.jsonl").at("metrics");
  for (const char* name : {"rouge1", "rouge2", "rougeL", "rougeLsum"}) EXPECT_TRUE(metrics.contains(name)) << metrics;
  const auto test_split = run(kMpeft + " eval --json --device cpu --split test --cfg " + cfg + " --checkpoint " +
                              (folder / "out").string() + " --set data_options.test_slice='{first: 2}' 2>/dev/null");
  ASSERT_EQ(test_split.exit_code, 0) << test_split.output;
  EXPECT_TRUE(document_of(test_split.output).at("metrics").contains("rougeL"));
}

TEST(DatasetRuns, CifarTrainsToAccuracy) {
  const test::TemporaryFolder folder;
  const std::string cfg =
      experiment(folder, "cifar-tvt", "train_files: [data_batch_1.bin], train_slice: {first: 4}", "num_epochs: 1\n");
  const auto outcome = run(kTrain + " --cfg " + cfg);
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_TRUE(last_line(folder / "out/metrics.jsonl").at("metrics").contains("accuracy_choices"));
}

TEST(DatasetRuns, ClassesThatCannotBeScoredAreRefusedBeforeTheTraining) {
  const test::TemporaryFolder folder;
  const std::string options = "input: '{question}', target: kind, classes: [where it is, what it is], val_file: x";
  folder.write("t.jsonl", "{\"question\": \"Oslo?\", \"kind\": \"where it is\"}\n");
  const auto outcome = run(kTrain + " --cfg " + experiment(folder, "jsonl:" + (folder / "t.jsonl").string(), options));
  EXPECT_EQ(outcome.exit_code, 2) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("a class must be one token"));
  const auto metric = run(kTrain + " --cfg " + experiment(folder, "glue_rte", "metrics: [bleu]"));
  EXPECT_EQ(metric.exit_code, 2) << metric.output;
  EXPECT_THAT(metric.output, HasSubstr("bleu compares texts"));
}

// The block of the top README under "Fine-tune your own data", as printed; only the base model is another one.
TEST(OwnData, TheReadmesExampleReadsBothFilesWhole) {
  const std::string readme = test::read(MPEFT_SOURCE_DIR "/README.md");
  const size_t section = readme.find("### Fine-tune your own data");
  ASSERT_NE(section, std::string::npos);
  const size_t begin = readme.find("```yaml\n", section) + 8, end = readme.find("```", begin);
  const test::TemporaryFolder folder;
  test::write(folder / "my.yaml", readme.substr(begin, end - begin));
  const std::string cfg = " --cfg " + (folder / "my.yaml").string();
  const std::string tokenizer = " --set tokenizer=data/sample/tokenizer.json";

  const auto checked = run(kTrain + cfg + tokenizer + " --model cfg/models/tiny.yaml --device cpu --dry-run --output " +
                           (folder / "out").string());
  EXPECT_EQ(checked.exit_code, 0) << checked.output;
  const auto n_records = [&](const std::string& split) {
    const auto outcome = run(kMpeft + " data stats --json --split " + split + cfg + tokenizer);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
    return outcome.exit_code == 0 ? json::parse(outcome.output).at("records").get<int>() : -1;
  };
  EXPECT_EQ(n_records("train"), 60);
  EXPECT_EQ(n_records("val"), 20);
}

TEST(OwnData, EvalTakesTheSplitThatIsAskedFor) {
  const test::TemporaryFolder folder;
  const auto file = [&](const std::string& name, int n) {
    std::string text;
    for (int i = 0; i < n; ++i) text += "{\"q\": \"" + name + "\", \"a\": " + std::to_string(i % 2) + "}\n";
    return folder.write(name + ".jsonl", text).string();
  };
  const std::string cfg = experiment(folder, "jsonl:" + file("learnt", 5),
                                     "input: '{q}', target: a, classes: ['0', '1'], test_file: " + file("tested", 2),
                                     "num_epochs: 1\nval_data: 'jsonl:" + file("checked", 3) + "'\n");
  ASSERT_EQ(run(kTrain + " --cfg " + cfg).exit_code, 0);
  // The inputs of what `mpeft eval` evaluates.
  const auto evaluated = [&](const std::string& flags) {
    const std::string output = (folder / "predictions.jsonl").string();
    const auto outcome = run(kMpeft + " eval --device cpu --cfg " + cfg + " --checkpoint " + (folder / "out").string() +
                             " --output " + output + " " + flags);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
    std::vector<std::string> inputs;
    std::ifstream lines(output);
    for (std::string line; std::getline(lines, line);) inputs.push_back(json::parse(line).at("input"));
    return inputs;
  };
  const auto of = [](const std::string& name, size_t n) { return std::vector<std::string>(n, name + "###"); };
  EXPECT_EQ(evaluated("--split train"), of("learnt", 5));
  EXPECT_EQ(evaluated("--split val"), of("checked", 3));
  EXPECT_EQ(evaluated(""), of("checked", 3));
  EXPECT_EQ(evaluated("--split test"), of("tested", 2));
  EXPECT_EQ(evaluated("--set val_data_split=test"), of("tested", 2)) << "what train validates on";
  EXPECT_EQ(run(kMpeft + " eval --device cpu --cfg " + cfg + " --checkpoint x --split dev").exit_code, 2);
  const auto unwritable = run(kMpeft + " eval --device cpu --cfg " + cfg + " --checkpoint " +
                              (folder / "out").string() + " --output " + (folder / "x.yaml/p.jsonl").string());
  EXPECT_EQ(unwritable.exit_code, 3);
  EXPECT_THAT(unwritable.output, HasSubstr("accuracy  ")) << "the scores are there all the same";

  // What is no checkpoint is told before the records are read.
  const auto refused = [&](const std::string& name) {
    const auto outcome = run(kMpeft + " eval --device cpu --cfg " + cfg + " --checkpoint " + (folder / name).string());
    EXPECT_EQ(outcome.exit_code, 3) << outcome.output;
    return outcome.output;
  };
  EXPECT_THAT(refused("outt"), HasSubstr("no such run, checkpoint, adapter or model folder (did you mean 'out'?)"));
  EXPECT_THAT(refused("model.yaml"), HasSubstr("model.yaml: is a file; expected a run, checkpoint"));
  EXPECT_THAT(refused("."), HasSubstr("holds no adapter/ nor model/"));
  const auto latest = folder / "out/checkpoint-2";
  ASSERT_TRUE(sfs::exists(latest));
  sfs::rename(folder / "out/model", folder / "elsewhere");
  EXPECT_THAT(refused("out"),
              HasSubstr("the run has not ended; it has 1 checkpoint: try --checkpoint " + latest.string()));
  EXPECT_EQ(run(kMpeft + " eval --device cpu --cfg " + cfg + " --checkpoint " + latest.string()).exit_code, 0);
}

// Records of a question and an answer, `answer(i)` of record i.
std::string records(int n, const std::function<std::string(int)>& answer) {
  std::string text;
  for (int i = 0; i < n; ++i) text += json({{"q", "question " + std::to_string(i)}, {"a", answer(i)}}).dump() + "\n";
  return text;
}

TEST(OwnData, MetricsThatCannotScoreItAreRefusedBeforeTheTraining) {
  const test::TemporaryFolder folder;
  const auto file = folder.write("t.jsonl", records(20, [](int i) { return i % 2 == 0 ? "yes" : "no"; })).string();
  for (const std::string metric : {"accuracy", "pearson"}) {
    const std::string cfg = experiment(folder, "jsonl:" + file, "input: '{q}', target: a, metrics: [" + metric + "]");
    for (const std::string flag : {"", " --dry-run"}) {
      const auto outcome = run(kTrain + flag + " --cfg " + cfg);
      EXPECT_EQ(outcome.exit_code, 2) << outcome.output;
      EXPECT_THAT(outcome.output,
                  HasSubstr("metrics: " + metric + " cannot score the data: example 1: the reference '"));
      EXPECT_THAT(outcome.output, HasSubstr("texts are for bleu, rouge and meteor"));
      EXPECT_EQ(outcome.output.find("data_options.classes: [no, yes]") != std::string::npos, metric == "accuracy");
    }
    EXPECT_EQ(run(kTrain + " --dry-run --set skip_eval=true --cfg " + cfg).exit_code, 0) << "nobody scores them";
  }
}

TEST(OwnData, APredictionThatIsNoNumberDoesNotEndTheRun) {
  const test::TemporaryFolder folder;
  const auto file = folder.write("t.jsonl", records(20, [](int i) { return std::to_string(i % 6); })).string();
  const std::string cfg = experiment(folder, "jsonl:" + file, "input: '{q}', target: a, metrics: [pearson, accuracy]",
                                     "num_epochs: 2\neval_gen: {num_beams: 1, max_new_tokens: 4}\n");
  const auto outcome = run(kTrain + " --set learning_rate=1e-9 --cfg " + cfg);  // its weights stay random
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("pearson, accuracy: 4 of 4 predictions are no number; they count as wrong"));
  const json metrics = last_line(folder / "out/metrics.jsonl").at("metrics");
  EXPECT_TRUE(metrics.at("pearson").is_null()) << "of predictions that are all the same: " << metrics;
  EXPECT_EQ(metrics.at("accuracy"), 0.0);
  const auto rescored =
      run(kMpeft + " eval --metrics accuracy pearson --predictions " + (folder / "out/predictions-8.jsonl").string());
  EXPECT_EQ(rescored.exit_code, 0) << rescored.output;
}

TEST(OwnData, AFileByAnotherSpellingIsNotTrainedAndValidatedOn) {
  const test::TemporaryFolder folder;
  const std::string file = folder.write("q.jsonl", records(20, [](int) { return "yes"; })).string();
  const std::string again = folder.path().string() + "/./q.jsonl";
  const std::string cfg = experiment(folder, "jsonl:" + file, "input: '{q}', target: a",
                                     "num_epochs: 1\nval_data: 'jsonl:" + again + "'\n");
  const auto outcome = run(kTrain + " --dry-run --cfg " + cfg);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("train 16 (0 dropped"));
  EXPECT_THAT(outcome.output, HasSubstr("val 4 (0 dropped"));
}

TEST(OwnData, HowMuchOfAFileIsForValidationIsAnOption) {
  const test::TemporaryFolder folder;
  const std::string file = folder.write("q.jsonl", records(20, [](int) { return "yes"; })).string();
  const std::string dry = kTrain + " --dry-run --cfg " + experiment(folder, "jsonl:" + file, "input: '{q}', target: a");
  const auto by_default = run(dry + " --set skip_eval=true");
  EXPECT_THAT(by_default.output, HasSubstr("train 16 (0 dropped")) << "evaluated or not, it trains on the same";
  EXPECT_THAT(by_default.output, HasSubstr("4 of 20 records are (data_options.val_share: 0.2; 0 trains on all)"));
  EXPECT_THAT(run(dry + " --set data_options.val_share=0.5").output, HasSubstr("val 10 (0 dropped"));
  const auto all = run(dry + " --set data_options.val_share=0 --set skip_eval=true");
  EXPECT_EQ(all.exit_code, 0) << all.output;
  EXPECT_THAT(all.output, HasSubstr("train 20 (0 dropped"));
  const auto none = run(dry + " --set data_options.val_share=0");
  EXPECT_EQ(none.exit_code, 2) << none.output;
  EXPECT_THAT(none.output, HasSubstr("val_share: 0: no record of " + file + " is for validation: name val_data"));
  EXPECT_EQ(run(dry + " --set data_options.val_share=1").exit_code, 2);
}

TEST(OwnData, SaysWhyNothingIsLeft) {
  const test::TemporaryFolder folder;
  const std::string empty = folder.write("empty.jsonl", "\n").string();
  const std::string cfg = experiment(folder, "jsonl:" + empty, "input: '{q}', target: a, val_file: " + empty);
  const auto none = run(kTrain + " --dry-run --cfg " + cfg);
  EXPECT_EQ(none.exit_code, 3);
  EXPECT_THAT(none.output, HasSubstr("no example for training: no record is left of " + empty));
  const auto dropped = run(kTrain + " --dry-run --cfg " + experiment(folder, "glue_rte", "", "max_length: 3\n"));
  EXPECT_EQ(dropped.exit_code, 3);
  EXPECT_THAT(dropped.output, HasSubstr("no example for training: all 80 are longer than 3 tokens (max_length)"));
}

TEST(DataCommand, ShowsExamplesAndStatisticsByNameOrExperiment) {
  const std::string where = " --data-root data/sample --tokenizer data/sample/tokenizer.json ";
  const auto shown = run(kMpeft + " data show glue_rte --split val --n 3 --json" + where);
  ASSERT_EQ(shown.exit_code, 0) << shown.output;
  const json examples = json::parse(shown.output);
  ASSERT_EQ(examples.size(), 3U);
  for (const auto& example : examples) {
    int n_loss = 0;
    for (const bool carries : example.at("carries_loss")) n_loss += carries ? 1 : 0;
    EXPECT_EQ(n_loss, 1);
    EXPECT_EQ(example.at("carries_loss").size(), example.at("ids").size());
    EXPECT_THAT(example.at("prompt").get<std::string>(), HasSubstr("###"));
  }
  EXPECT_THAT(run(kMpeft + " data show samsum --split test --n 1" + where).output, HasSubstr("writes"));
  const auto stats = run(kMpeft + " data stats glue_rte --json" + where);
  ASSERT_EQ(stats.exit_code, 0) << stats.output;
  EXPECT_EQ(json::parse(stats.output).at("records"), 80);
  EXPECT_EQ(json::parse(stats.output).at("classes"), json::array({"0", "1"}));

  const test::TemporaryFolder folder;
  const std::string cfg = experiment(folder, "samsum", "", "num_epochs: 1\nmax_length: 120\n");
  const auto limited = run(kMpeft + " data stats --cfg " + cfg);
  ASSERT_EQ(limited.exit_code, 0) << limited.output;
  EXPECT_THAT(limited.output, HasSubstr("9 (15 dropped as too long)"));
  EXPECT_THAT(limited.output, HasSubstr("#"));
  const auto nameless = run(kMpeft + " data stats" + where);
  EXPECT_EQ(nameless.exit_code, 2);
  EXPECT_THAT(nameless.output, HasSubstr("expected the name of a data set, or --cfg FILE"));
  EXPECT_EQ(run(kMpeft + " data show glue_rte --n 0" + where).exit_code, 2);
  const auto typo = run(kMpeft + " data show samsun");
  EXPECT_EQ(typo.exit_code, 2);
  EXPECT_THAT(typo.output, testing::StartsWith("error: samsun: unknown data set (did you mean 'samsum'?)"));
  test::write(folder / "empty.jsonl", "\n");
  const auto empty = run(kMpeft + " data show jsonl:" + (folder / "empty.jsonl").string() +
                         " --set data_options.input=\"'{q}'\" --set data_options.target=a" + where);
  EXPECT_EQ(empty.exit_code, 3);
  EXPECT_THAT(empty.output, HasSubstr("no example for showing: no record is left of"));
  // Whatever a path holds, it is a path and no YAML.
  test::write(folder / "a: b #c.jsonl", "{\"q\": \"x\", \"a\": \"y\"}\n");
  const auto odd =
      run(kMpeft + " data stats \"jsonl:" + (folder / "a: b #c.jsonl").string() +
          "\" --set data_options.input=\"'{q}'\" --set data_options.target=a --set data_options.val_file=x" + where);
  EXPECT_EQ(odd.exit_code, 0) << odd.output;
}

TEST(ScoreCommand, TakesClassesNumbersAndTexts) {
  const test::TemporaryFolder folder;
  const auto path = folder
                        .write("p.jsonl",
                               "{\"prediction\": 1, \"references\": [1]}\n{\"prediction\": \"0\", "
                               "\"references\": [\"1\"]}\n{\"prediction\": \"x\", \"references\": [0]}\n"
                               "{\"prediction\": 0, \"references\": [0]}\n")
                        .string();
  const auto scored = run(kMpeft + " score accuracy f1 rouge1 --json --predictions " + path);
  ASSERT_EQ(scored.exit_code, 0) << scored.output;
  const json metrics = document_of(scored.output).at("metrics");
  EXPECT_EQ(metrics.at("accuracy"), 0.5);
  EXPECT_EQ(metrics.at("f1"), 2.0 / 3.0);
  EXPECT_EQ(metrics.at("rouge1"), 0.5);
  const auto piped = run("cat " + path + " | " + kMpeft + " score accuracy --predictions -");
  EXPECT_THAT(piped.output, HasSubstr("accuracy  0.500000"));
  const auto numbers = run(kMpeft + " score pearson --predictions " + path);
  EXPECT_EQ(numbers.exit_code, 0) << numbers.output;
  EXPECT_THAT(numbers.output, HasSubstr("pearson: 1 of 4 predictions are no number; they count as wrong"));
  const auto broken = folder.write("b.jsonl", "{\"prediction\": 1, \"references\": [\"x\"]}\n").string();
  const auto no_reference = run(kMpeft + " score pearson --predictions " + broken);
  EXPECT_EQ(no_reference.exit_code, 3);
  EXPECT_THAT(no_reference.output, HasSubstr("prediction 1: the reference 'x' is no number"));
  const auto unknown = run(kMpeft + " score acuracy --predictions " + path);
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_THAT(unknown.output, HasSubstr("did you mean 'accuracy'"));
  EXPECT_EQ(run(kMpeft + " score f1 --per-example --predictions " + path).exit_code, 2);
}

}  // namespace
}  // namespace mpeft
