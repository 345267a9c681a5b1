// Spider through the programs, on the sample: training that evaluates queries, rescoring, `mpeft score`.

#include <algorithm>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "e2e/programs.h"
#include "support/temporary_folder.h"

namespace mpeft {
namespace {

using nlohmann::json;
using test::kMpeft;
using test::kTrain;
using test::read;
using test::run;
using test::write;
using ::testing::HasSubstr;

std::vector<json> lines_of(const std::string& text) {
  std::vector<json> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(json::parse(line));
  return lines;
}

std::string text_of(const std::vector<json>& lines) {
  std::string text;
  for (const auto& line : lines) text += line.dump() + "\n";
  return text;
}

// The program's JSON document; its standard error is left out.
json metrics_of(const std::string& command) {
  const auto outcome = run(command + " --json 2>/dev/null");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  return outcome.exit_code == 0 ? json::parse(outcome.output).at("metrics") : json();
}

TEST(SpiderProgram, TrainingEvaluatesQueriesAndPredictionsAreRescored) {
  const test::TemporaryFolder folder;
  write(folder / "model.yaml", "d_model: 32\nn_layer: 2\nvocab_size: 1024\n");
  write(folder / "x.yaml", "model: " + (folder / "model.yaml").string() + R"(
tokenizer: data/sample/tokenizer.json
data: spider-tvt
data_root: data/sample
data_options: {train_slice: {first: 8}, val_slice: {first: 6}}
num_epochs: 1
batch_size: 8
prec: fp32
eval_gen: {num_beams: 1, max_length: 8}
device: cpu
output_dir: )" + (folder / "out").string() +
                               "\n");
  const auto trained = run(kTrain + " --cfg " + (folder / "x.yaml").string());
  ASSERT_EQ(trained.exit_code, 0) << trained.output;

  json scores;
  for (const auto& line : lines_of(read(folder / "out/metrics.jsonl"))) {
    if (line.at("kind") == "eval") scores = line;
  }
  EXPECT_THAT(scores.dump(), HasSubstr("\"execution\"")) << "both metrics, over all and over levels";
  EXPECT_THAT(scores.dump(), HasSubstr("\"exact\""));
  EXPECT_THAT(scores.dump(), HasSubstr("\"exact_easy\""));

  const std::string file = (folder / "out/predictions-1.jsonl").string();
  auto predictions = lines_of(read(file));
  ASSERT_EQ(predictions.size(), 6U);
  for (auto& prediction : predictions) {
    EXPECT_EQ(prediction.at("db_id"), "towns");
    prediction["prediction"] = prediction.at("references").at(0);
  }
  const std::string rescore = kMpeft + " eval --metrics exact execution --predictions ";
  EXPECT_EQ(metrics_of(rescore + file + " --spider data/sample/spider").at("exact"), 0.0)
      << "nothing was learnt in a step";
  write(folder / "right.jsonl", text_of(predictions));
  const auto right = metrics_of(rescore + (folder / "right.jsonl").string() + " --spider data/sample/spider");
  EXPECT_EQ(right.at("exact"), 1.0);
  EXPECT_EQ(right.at("execution"), 1.0);
  const auto without = run(rescore + file);
  EXPECT_EQ(without.exit_code, 2);
  EXPECT_THAT(without.output, HasSubstr("metric 'exact' runs queries: name Spider's folder"));
}

TEST(SpiderProgram, TrainingFindsAnAbsentDatabaseFolderBeforeItBegins) {
  const test::TemporaryFolder folder;
  std::filesystem::create_directories(folder / "spider");
  for (const char* name : {"train_spider.json", "dev.json", "tables.json"})
    write(folder / "spider" / name, read(std::filesystem::path(MPEFT_SOURCE_DIR "/data/sample/spider") / name));
  write(folder / "x.yaml",
        "model: cfg/models/tiny.yaml\ntokenizer: data/sample/tokenizer.json\ndata: spider-tvt\ndevice: cpu\n"
        "data_root: " +
            folder.path().string() + "\noutput_dir: " + (folder / "out").string() + "\n");
  const auto outcome = run(kTrain + " --dry-run --cfg " + (folder / "x.yaml").string());
  EXPECT_EQ(outcome.exit_code, 3) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("spider/database: no such folder"));
}

TEST(SpiderProgram, ScoreTakesGoldAndDatabase) {
  const test::TemporaryFolder folder;
  const std::string gold = "SELECT count(*) FROM resident WHERE Age > 30";
  const auto record = [&](const std::string& prediction) {
    return json{{"prediction", prediction}, {"gold", gold}, {"db_id", "towns"}};
  };
  write(folder / "p.jsonl", text_of({record("select count(*) from resident where age > 30"),
                                     record("select count(*) from resident where age > 60"), record("select name from"),
                                     record("select count(*) from town where 1; drop table town")}));
  const std::string score = kMpeft + " score spider --predictions " + (folder / "p.jsonl").string();
  const auto metrics = metrics_of(score + " --spider data/sample/spider");
  EXPECT_EQ(metrics.at("exact"), 0.5);
  EXPECT_EQ(metrics.at("execution"), 0.25);
  EXPECT_EQ(metrics.at("exact_easy"), 0.5);
  EXPECT_EQ(metrics.at("partial_where_rec"), 0.5);

  const auto each = run(score + " --spider data/sample/spider --per-example 2>/dev/null");
  ASSERT_EQ(each.exit_code, 0) << each.output;
  const auto first = json::parse(each.output.substr(0, each.output.find('\n')));
  EXPECT_EQ(first.at("execution_easy"), 1.0);
  EXPECT_EQ(run(score).exit_code, 2);
  EXPECT_EQ(run(score + " --spider " + folder.path().string()).exit_code, 3);
}

}  // namespace
}  // namespace mpeft
