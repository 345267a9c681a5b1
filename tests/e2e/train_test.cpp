// The programs as a user runs them: exit codes, messages, files, ten literal losses, kill and resume.

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <sys/resource.h>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "e2e/programs.h"
#include "support/temporary_folder.h"

namespace mpeft {
namespace {

namespace sfs = std::filesystem;
using nlohmann::json;
using test::kMpeft;
using test::kTrain;
using test::read;
using test::run;
using test::tiny_experiment;
using test::write;
using ::testing::HasSubstr;
using ::testing::Not;

std::vector<double> losses(const sfs::path& metrics) {
  std::vector<double> result;
  std::ifstream file(metrics);
  for (std::string line; std::getline(file, line);) {
    const json object = json::parse(line);
    if (object.at("kind") == "train") result.push_back(object.at("loss").get<double>());
  }
  return result;
}

TEST(TrainProgram, TenStepsHaveTheseLosses) {
  const test::TemporaryFolder folder;
  const auto outcome = run(kTrain + " --cfg " + tiny_experiment(folder));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  // Written down from a run of this program; tests/parity compares model and gradients with an independent
  // implementation.
  const std::vector<double> expected = {6.9331627, 6.8687701, 6.7590103, 6.6903483, 6.6145816,
                                        6.5186472, 6.4801908, 6.3820491, 6.3580418, 6.3386712};
  const auto measured = losses(folder / "out/metrics.jsonl");
  ASSERT_EQ(measured.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i)
    EXPECT_NEAR(measured[i], expected[i], 2e-4 * expected[i]) << "step " << i + 1;
  for (const char* file : {"cfg.yaml", "manifest.json", "metrics.jsonl", "log.txt", "model/config.json",
                           "model/model.safetensors", "model/tokenizer.json"}) {
    EXPECT_TRUE(sfs::exists(folder / "out" / file)) << file;
  }
  EXPECT_TRUE(json::parse(read(folder / "out/manifest.json")).at("finished").get<bool>());
  const auto is_event_file = [](const auto& entry) {
    return entry.path().filename().string().starts_with("events.out.tfevents.");
  };
  EXPECT_EQ(std::count_if(sfs::directory_iterator(folder / "out"), sfs::directory_iterator(), is_event_file), 1);
  // A finished run is left alone, and the resolved configuration runs as it stands.
  EXPECT_THAT(run(kTrain + " --cfg " + (folder / "x.yaml").string()).output, HasSubstr("already finished"));
  EXPECT_EQ(run(kTrain + " --dry-run --cfg " + (folder / "out/cfg.yaml").string()).exit_code, 0);
}

// The operators, the matrix products and the loss share their work out; who does which part must not matter.
TEST(TrainProgram, AnyNumberOfThreadsTrainsToTheSameBits) {
  const test::TemporaryFolder folder;
  const auto trained_by = [&](const std::string& threads) {
    const auto out = folder / threads;
    const auto outcome =
        run("OMP_NUM_THREADS=" + threads + " " + kTrain + " --cfg cfg/quickstart/base.yaml --device cpu" +
            " --set max_steps=8 --set warmup_steps=2 --set skip_eval=true --output " + out.string());
    EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
    return read(out / "model/model.safetensors");
  };
  const std::string one = trained_by("1");
  ASSERT_FALSE(one.empty());
  for (const char* threads : {"2", "3"}) EXPECT_TRUE(trained_by(threads) == one) << threads << " threads";
}

TEST(TrainProgram, ResumedRunEqualsTheUninterruptedOneBitForBit) {
  const test::TemporaryFolder whole, stopped;
  const std::string adapter =
      R"({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "lora_dropout": 0.1, "target_modules": ["in_proj_x", "x_proj_B", "out_proj"]})";
  for (const auto* folder : {&whole, &stopped}) write(*folder / "lora.json", adapter);
  const std::string cfg_whole = tiny_experiment(whole, "peft: " + (whole / "lora.json").string() + "\n");
  const std::string cfg_stopped = tiny_experiment(stopped, "peft: " + (stopped / "lora.json").string() + "\n");
  ASSERT_EQ(run(kTrain + " --cfg " + cfg_whole).exit_code, 0);

  // Stopped for good by a killed process after the first checkpoint: the second epoch's folders are removed as a crash
  // would leave them.
  ASSERT_EQ(run(kTrain + " --cfg " + cfg_stopped).exit_code, 0);
  for (const char* lost : {"out/checkpoint-10", "out/adapter"}) sfs::remove_all(stopped / lost);
  auto manifest = json::parse(read(stopped / "out/manifest.json"));
  manifest["finished"] = false;
  write(stopped / "out/manifest.json", manifest.dump());
  const auto refused = run(kTrain + " --cfg " + cfg_stopped);
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.output, HasSubstr("--resume goes on"));
  const auto resumed = run(kTrain + " --resume --cfg " + cfg_stopped);
  ASSERT_EQ(resumed.exit_code, 0) << resumed.output;
  EXPECT_THAT(resumed.output, HasSubstr("resuming from"));

  EXPECT_EQ(read(whole / "out/adapter/adapter_model.safetensors"),
            read(stopped / "out/adapter/adapter_model.safetensors"));
  EXPECT_EQ(losses(whole / "out/metrics.jsonl"), losses(stopped / "out/metrics.jsonl"));
}

// However a run ends, wherever in an epoch: what goes on from it is the run that was never stopped.
void expect_resumed_equals_whole(const std::string& signal, int exit_code, const std::string& message) {
  const std::string settings = " --set num_epochs=30 --set batch_size=2 --set log_steps=20";  // 20 steps an epoch
  static const std::string whole = [&] {
    const test::TemporaryFolder folder;
    const auto outcome = run(kTrain + " --cfg " + tiny_experiment(folder) + settings);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
    return read(folder / "out/model/model.safetensors");
  }();
  ASSERT_FALSE(whole.empty());
  const test::TemporaryFolder stopped;
  const std::string cfg = tiny_experiment(stopped);
  // Once the first epoch is saved, however slow the machine is; -m: a job of its own, which does not ignore SIGINT.
  const std::string saved = (stopped / "out/checkpoint-*").string();
  const auto ended = run("bash -m -c '" + kTrain + " --cfg " + cfg + settings + " & until compgen -G \"" + saved +
                         "\" > /dev/null || ! kill -0 $!; do sleep 0.05; done; kill -" + signal + " $!; wait $!'");
  ASSERT_EQ(ended.exit_code, exit_code) << ended.output;
  EXPECT_THAT(ended.output, HasSubstr(message));
  EXPECT_FALSE(sfs::exists(stopped / "out/model"));
  const auto resumed = run(kTrain + " --resume --cfg " + cfg + settings);
  ASSERT_EQ(resumed.exit_code, 0) << resumed.output;
  EXPECT_THAT(resumed.output, HasSubstr("resuming from"));
  EXPECT_TRUE(read(stopped / "out/model/model.safetensors") == whole);
}

TEST(TrainProgram, AnInterruptedRunSavesItselfAndGoesOnBitForBit) {
  expect_resumed_equals_whole("INT", 130, "add --resume to go on");
}

TEST(TrainProgram, AKilledRunGoesOnFromItsLastCheckpointBitForBit) { expect_resumed_equals_whole("KILL", 137, ""); }

TEST(TrainProgram, StopsWhereTheLossStaysNotFinite) {
  const test::TemporaryFolder folder;
  const std::string settings = " --set learning_rate=900 --set max_grad_norm=0 --set num_epochs=20";
  const auto unsaved = run(kTrain + " --cfg " + tiny_experiment(folder) + settings + " --set no_save=true");
  EXPECT_EQ(unsaved.exit_code, 4) << unsaved.output;
  EXPECT_THAT(unsaved.output, HasSubstr("loss or gradient not finite for "));
  EXPECT_THAT(unsaved.output, HasSubstr("try a smaller --set learning_rate=… (it is 900), or clip the gradient"));
  EXPECT_THAT(unsaved.output, Not(HasSubstr("--prec"))) << "it computes in fp32 already";
  EXPECT_THAT(unsaved.output, Not(HasSubstr("is intact"))) << "there is no checkpoint";
  const auto saved = run(kTrain + " --overwrite --cfg " + tiny_experiment(folder) + settings);
  EXPECT_EQ(saved.exit_code, 4) << saved.output;
  EXPECT_THAT(saved.output, Not(HasSubstr("is intact"))) << "it began in the first epoch";
  EXPECT_FALSE(sfs::exists(folder / "out/model"));
}

TEST(TrainProgram, LeavesFilesAloneThatNoRunWrote) {
  const test::TemporaryFolder folder;
  const std::string cfg = tiny_experiment(folder);
  folder.write("out/model/precious.txt", "mine");
  for (const char* flag : {"", " --overwrite", " --resume"}) {
    const auto outcome = run(kTrain + " --cfg " + cfg + flag);
    EXPECT_EQ(outcome.exit_code, 2) << outcome.output;
    EXPECT_THAT(outcome.output, HasSubstr("left alone"));
    EXPECT_EQ(read(folder / "out/model/precious.txt"), "mine") << flag;
  }
}

TEST(TrainProgram, OverwriteStartsAnew) {
  const test::TemporaryFolder folder;
  const std::string cfg = tiny_experiment(folder);
  ASSERT_EQ(run(kTrain + " --cfg " + cfg).exit_code, 0);
  const auto again = run(kTrain + " --overwrite --cfg " + cfg + " --seed 7");
  ASSERT_EQ(again.exit_code, 0) << again.output;
  EXPECT_EQ(losses(folder / "out/metrics.jsonl").size(), 10U);
  EXPECT_EQ(json::parse(read(folder / "out/manifest.json")).at("seed"), 7);
  // A run that cannot begin has taken nothing away.
  const auto refused =
      run(kTrain + " --overwrite --cfg " + cfg + " --set 'data_options.train_slice={range: [900, 901]}'");
  EXPECT_EQ(refused.exit_code, 2) << refused.output;
  EXPECT_THAT(refused.output, HasSubstr("train_slice: selects none of"));
  EXPECT_TRUE(sfs::exists(folder / "out/model/model.safetensors"));
  EXPECT_THAT(run(kTrain + " --seed 7 --cfg " + cfg).output, HasSubstr("already finished"));
}

TEST(TrainProgram, AFinishedRunOfOtherSettingsIsNotTakenForThisOne) {
  const test::TemporaryFolder folder;
  const std::string cfg = tiny_experiment(folder);
  ASSERT_EQ(run(kTrain + " --seed 5 --cfg " + cfg).exit_code, 0);
  for (const char* dry_run : {"", " --dry-run", " --seed 5 --debug"}) {
    const auto whole = run(kTrain + " --cfg " + cfg + dry_run);
    EXPECT_EQ(whole.exit_code, 2) << whole.output;
    EXPECT_THAT(whole.output, HasSubstr("already finished, with other settings ("));
    EXPECT_THAT(whole.output, HasSubstr("); --overwrite"));
  }
  ASSERT_EQ(run(kTrain + " --overwrite --cfg " + cfg).exit_code, 0);
  EXPECT_EQ(run(kTrain + " --device cpu --cfg " + cfg).exit_code, 0);  // as finished before: nothing of the result
  sfs::remove_all(folder / "out/model");
  const auto gone = run(kTrain + " --cfg " + cfg);
  EXPECT_EQ(gone.exit_code, 2) << gone.output;
  EXPECT_THAT(gone.output, HasSubstr("model/ is not there any more"));
}

TEST(TrainProgram, GoesOnWithTheDataItBeganWithOnly) {
  const test::TemporaryFolder folder;
  sfs::create_directory(folder / "data");
  const auto records = [&](const std::string& answer) {
    std::string lines;
    for (int i = 0; i < 16; ++i) lines += R"({"q": "who", "a": ")" + answer + std::to_string(i) + "\"}\n";
    write(folder / "data/x.jsonl", lines);
  };
  records("Ann ");
  std::string text = read(tiny_experiment(folder));
  text.replace(text.find("data: dart"), 10, "data: jsonl:" + (folder / "data/x.jsonl").string());
  const size_t options = text.find("data_options:");
  text.replace(options, text.find('\n', options) - options, "data_options: {input: \"{q}\", target: a}");
  const std::string cfg = (folder / "x.yaml").string();
  write(cfg, text);
  // A finished run whose end is taken back: its checkpoints are there.
  ASSERT_EQ(run(kTrain + " --cfg " + cfg).exit_code, 0);
  sfs::remove_all(folder / "out/model");
  std::string manifest = read(folder / "out/manifest.json");
  manifest.replace(manifest.find("\"finished\": true"), 16, "\"finished\": false");
  write(folder / "out/manifest.json", manifest);
  records("Bob ");
  const auto mixed = run(kTrain + " --resume --cfg " + cfg);
  EXPECT_EQ(mixed.exit_code, 3) << mixed.output;
  EXPECT_THAT(mixed.output, HasSubstr("the run began with other data than there are now"));
  EXPECT_EQ(read(folder / "out/manifest.json"), manifest);
  records("Ann ");
  const auto same = run(kTrain + " --resume --cfg " + cfg);
  EXPECT_EQ(same.exit_code, 0) << same.output;
}

TEST(TrainProgram, ADryRunFindsWhatTheRunWouldFindInItsFolder) {
  const test::TemporaryFolder folder;
  const std::string cfg = tiny_experiment(folder);
  const auto below_a_file = run(kTrain + " --dry-run --cfg " + cfg + " --output " + (folder / "x.yaml/out").string());
  EXPECT_EQ(below_a_file.exit_code, 3) << below_a_file.output;
  EXPECT_THAT(below_a_file.output, HasSubstr("cannot be the output folder"));
  EXPECT_EQ(run(kTrain + " --dry-run --cfg " + cfg).exit_code, 0);
  EXPECT_FALSE(sfs::exists(folder / "out"));
  sfs::create_directories(folder / "out/checkpoint-5");
  const auto unfinished = run(kTrain + " --dry-run --cfg " + cfg);
  EXPECT_EQ(unfinished.exit_code, 2) << unfinished.output;
  EXPECT_THAT(unfinished.output, HasSubstr("holds an unfinished run"));
  const auto by_run_all = run(test::kRunAll + " train --device cpu --resume --cfg " + cfg + " -- --dry-run");
  EXPECT_EQ(by_run_all.exit_code, 0) << by_run_all.output;
}

// 398,725,120 weights, which take seconds to draw; 1.5 GiB where they are written, 760 MiB in bf16; three times as much
// for the optimizer where all of them train.
TEST(TrainProgram, ADryRunDrawsNoRandomWeightsAndMakesNoOptimizer) {
  const test::TemporaryFolder folder;
  folder.write("lora.json",
               R"({"peft_type": "LORA", "r": 4, "init_lora_weights": "pissa", "target_modules": ["x_proj"]})");
  const std::string cfg = tiny_experiment(folder);
  write(folder / "model.yaml", "d_model: 2048\nn_layer: 15\nvocab_size: 1024\n");
  for (const std::string& method : {" --set peft=" + (folder / "lora.json").string(), std::string()}) {
    const auto outcome = run(kTrain + " --dry-run --prec bf16 --cfg " + cfg + method);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
    EXPECT_THAT(outcome.output, HasSubstr("dry run: everything is in place"));
    EXPECT_THAT(outcome.output, Not(HasSubstr("drawing")));
    EXPECT_THAT(outcome.output, HasSubstr(" trainable = "));
  }
  rusage of_children{};
  getrusage(RUSAGE_CHILDREN, &of_children);
  EXPECT_LT(of_children.ru_maxrss, 700 * 1024) << "KiB";
}

TEST(MpeftProgram, ACommandThatIsNotThereIsNamedWithThoseThatAre) {
  const std::string all =
      "; there are tokenize, score, params, generate, logits, data, eval, merge, export, info, bench";
  const std::pair<const char*, std::string> cases[] = {
      {"", "a command is missing" + all},
      {" foo", "there is no command 'foo'" + all},
      {" -q tokenise --tokenizer x", "there is no command 'tokenise' (did you mean 'tokenize'?)" + all},
      {" data shw --cfg x",
       "there is no command 'shw' (did you mean 'show'?); there are show, stats (mpeft data COMMAND"},
  };
  for (const auto& [arguments, message] : cases) {
    const auto outcome = run(kMpeft + arguments);
    EXPECT_EQ(outcome.exit_code, 2) << arguments;
    EXPECT_THAT(outcome.output, HasSubstr(message));
  }
  EXPECT_EQ(run(kMpeft + " data show --help").exit_code, 0);
  EXPECT_EQ(run(kMpeft + " --version").exit_code, 0);
}

TEST(EvalProgram, PredictionsThatAreNotThereAreNamed) {
  const auto outcome = run(kMpeft + " eval --predictions /nowhere.jsonl");
  EXPECT_EQ(outcome.exit_code, 3) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("/nowhere.jsonl: no such file"));
}

TEST(TrainProgram, TheLastLineNamesTheEpochThatMaxStepsEnds) {
  const test::TemporaryFolder folder;
  const auto outcome = run(kTrain + " --cfg " + tiny_experiment(folder, "max_steps: 3\n"));
  EXPECT_THAT(outcome.output, HasSubstr("epoch 1/2  step 3"));
}

TEST(TrainProgram, EvaluatesByGenerationAndEvalFindsTheSameScores) {
  const test::TemporaryFolder folder;
  std::string text = read(tiny_experiment(folder));
  text.replace(text.find("skip_eval: true"), 15, "eval_gen: {num_beams: 2, max_new_tokens: 12}");
  text.replace(text.find("val_slice"), 9, "metrics: [bleu], val_slice");
  write(folder / "x.yaml", text);
  const auto outcome = run(kTrain + " --cfg " + (folder / "x.yaml").string());
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("← best bleu"));
  const auto evaluated = run(kMpeft + " eval --json --device cpu --cfg " + (folder / "x.yaml").string() +
                             " --checkpoint " + (folder / "out").string());
  ASSERT_EQ(evaluated.exit_code, 0) << evaluated.output;
  const auto rescored =
      run(kMpeft + " eval --json --metrics bleu --predictions " + (folder / "out/predictions-10.jsonl").string());
  ASSERT_EQ(rescored.exit_code, 0) << rescored.output;
  json last;
  std::ifstream file(folder / "out/metrics.jsonl");
  for (std::string line; std::getline(file, line);) last = json::parse(line);
  EXPECT_EQ(json::parse(rescored.output).at("metrics").at("bleu"), last.at("metrics").at("bleu"));
  EXPECT_EQ(json::parse(evaluated.output.substr(evaluated.output.rfind('{', evaluated.output.rfind("\"metrics\""))))
                .at("metrics")
                .at("bleu"),
            last.at("metrics").at("bleu"));
}

struct BadCase {
  const char* name;
  const char* text;      // appended to a good experiment, or replacing `replaces`
  const char* replaces;  // "" appends
  const char* message;
  int exit_code;
};

class BadExperiment : public ::testing::TestWithParam<BadCase> {};

TEST_P(BadExperiment, IsRefusedWithPlaceReasonAndExitCode) {
  const auto& bad = GetParam();
  const test::TemporaryFolder folder;
  std::string text = read(tiny_experiment(folder));
  if (*bad.replaces == '\0') {
    text += bad.text;
  } else {
    const size_t at = text.find(bad.replaces);
    ASSERT_NE(at, std::string::npos);
    text.replace(at, std::string(bad.replaces).size(), bad.text);
  }
  write(folder / "x.yaml", text);
  const auto outcome = run(kTrain + " --cfg " + (folder / "x.yaml").string());
  EXPECT_EQ(outcome.exit_code, bad.exit_code) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr(bad.message));
}

INSTANTIATE_TEST_SUITE_P(
    Cases, BadExperiment,
    ::testing::Values(
        BadCase{"unknown_key", "lerning_rate: 1", "", "lerning_rate: unknown key (did you mean 'learning_rate'?)", 2},
        BadCase{"text_for_number", "batch_size: 4x", "batch_size: 8", "batch_size: expected", 2},
        BadCase{"negative", "num_epochs: -1", "num_epochs: 2", "num_epochs", 2},
        BadCase{"zero_batch", "batch_size: 0", "batch_size: 8", "batch_size", 2},
        BadCase{"precision", "prec: bf61", "prec: fp32", "bf16", 2},
        BadCase{"schedule", "lr_scheduler: liner", "", "linear", 2},
        BadCase{"optimizer", "optim: sgd", "", "adamw_torch", 2},
        BadCase{"two_devices", "device: gpu", "device: cpu", "device", 2},
        BadCase{"dataset", "data: drat", "data: dart", "did you mean 'dart'", 2},
        BadCase{"data_root", "data_root: /nowhere", "data_root: data/sample", "/nowhere", 3},
        BadCase{"train_file", "train_file: nobody.json", "train_file: people-train.json", "nobody.json", 3},
        BadCase{"data_option", "{trian_file: x, train_file: people-train.json", "{train_file: people-train.json",
                "trian_file", 2},
        BadCase{"tokenizer", "tokenizer: nowhere.json", "tokenizer: data/sample/tokenizer.json", "nowhere.json", 2},
        BadCase{"tokenizer_is_not_one", "tokenizer: data/sample/dart/people-dev.json",
                "tokenizer: data/sample/tokenizer.json", "people-dev.json", 3},
        BadCase{"model", "model: nobody/nothing # ", "model: ", "nobody/nothing", 3},
        BadCase{"adapter_file", "peft: nothing.json", "", "nothing.json", 2},
        BadCase{"adapter_is_yaml", "peft: cfg/quickstart/lora.yaml", "", "cfg/quickstart/lora.yaml:1:1: not valid JSON",
                2},
        BadCase{"resume_and_overwrite", "resume: true\noverwrite: true", "", "overwrite", 2},
        BadCase{"yaml_syntax", "a: [1, 2", "", "x.yaml:", 2},
        BadCase{"duplicate_key", "prec: fp32", "", "duplicate key", 2},
        BadCase{"learning_rate", "learning_rate: fast", "learning_rate: 0.003", "learning_rate: expected", 2},
        BadCase{"seed", "seed: many", "", "seed: expected", 2},
        BadCase{"beams", "eval_gen: {num_beams: 0}", "", "num_beams", 2},
        BadCase{"eval_key", "eval_gen: {num_beam: 2}", "", "num_beams", 2},
        BadCase{"floor", "min_eval_metric_after_epoch: 3", "", "min_eval_metric_after_epoch", 2},
        BadCase{"metric", "metrics: [blue], train_file: people-train.json", "train_file: people-train.json", "blue", 2},
        BadCase{"all_too_long", "max_length: 2", "", "max_length", 3},
        BadCase{"warmup", "max_steps: 5\nwarmup_steps: 5", "", "never ends", 2},
        BadCase{"list_for_map", "data_options: [1]",
                "data_options: {train_file: people-train.json, val_file: people-dev.json, train_slice: {first: 40}, "
                "val_slice: {first: 4}}",
                "expected a map", 2},
        BadCase{"gpu_absent", "device: 99", "device: cpu", "--device", 2}),
    [](const auto& test_case) { return std::string(test_case.param.name); });

TEST(TrainProgram, ShowsEveryProblemAtOnce) {
  const test::TemporaryFolder folder;
  const auto outcome = run(kTrain + " --cfg " + tiny_experiment(folder, "lerning_rate: 1\nwarmup_stps: 2\n"));
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.output, HasSubstr("learning_rate"));
  EXPECT_THAT(outcome.output, HasSubstr("warmup_steps"));
  EXPECT_FALSE(sfs::exists(folder / "out"));
}

TEST(MpeftProgram, MergedAndAdaptedModelsGenerateTheSame) {
  const test::TemporaryFolder folder;
  ASSERT_EQ(run(kTrain + " --cfg " + tiny_experiment(folder) + " --output " + (folder / "base").string()).exit_code, 0);
  write(folder / "lora.json",
        R"({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["in_proj_x", "out_proj"]})");
  const std::string base = (folder / "base/model").string(), out = (folder / "out").string();
  const auto trained =
      run(kTrain + " --cfg " + tiny_experiment(folder, "peft: " + (folder / "lora.json").string() + "\n") +
          " --model " + base);
  ASSERT_EQ(trained.exit_code, 0) << trained.output;
  const auto merged = run(kMpeft + " merge --model " + base + " --adapter " + out + "/adapter --output " +
                          (folder / "merged").string());
  ASSERT_EQ(merged.exit_code, 0) << merged.output;
  const std::string prompt = "echo '\"Ada : likes : rice###\"' | ",
                    options = " --device cpu --prec fp32 --max-new-tokens 8 2>/dev/null";
  const auto a = run(prompt + kMpeft + " generate --model " + base + " --adapter " + out + "/adapter" + options);
  const auto b = run(prompt + kMpeft + " generate --model " + (folder / "merged").string() + options);
  ASSERT_EQ(a.exit_code, 0) << a.output;
  EXPECT_EQ(json::parse(a.output).at("ids"), json::parse(b.output).at("ids"));
  EXPECT_EQ(run(kMpeft + " info " + out + "/adapter").exit_code, 0);
  EXPECT_EQ(run(kMpeft + " nonsense").exit_code, 2);
  const auto nothing = run(kMpeft + " info /no/such/folder");
  EXPECT_EQ(nothing.exit_code, 3);
  EXPECT_THAT(nothing.output, HasSubstr("/no/such/folder: no such file or folder"));
}

TEST(MpeftProgram, ExportsTwoAdaptersThatTrainedTogether) {
  const test::TemporaryFolder folder;
  ASSERT_EQ(run(kTrain + " --cfg " + tiny_experiment(folder) + " --output " + (folder / "base").string()).exit_code, 0);
  write(folder / "lora.json", R"({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["in_proj_x"]})");
  write(folder / "rows.json", R"({"peft_type": "LAYER_FREEZE", "trainable_layers": ["x_proj_B", "A_log"]})");
  const std::string base = (folder / "base/model").string(), adapter = (folder / "out/adapter").string();
  const std::string both = "[" + (folder / "lora.json").string() + ", " + (folder / "rows.json").string() + "]";
  const auto trained = run(kTrain + " --cfg " + tiny_experiment(folder, "peft: " + both + "\n") + " --model " + base);
  ASSERT_EQ(trained.exit_code, 0) << trained.output;
  EXPECT_THAT(trained.output, HasSubstr("COMPOSITE"));

  const std::string prompt = "echo '\"Ada : likes : rice###\"' | ",
                    options =
                        " --device cpu --prec fp32 --max-new-tokens 8 --tokenizer data/sample/tokenizer.json "
                        "2>/dev/null";
  const auto adapted = run(prompt + kMpeft + " generate --model " + base + " --adapter " + adapter + options);
  ASSERT_EQ(adapted.exit_code, 0) << adapted.output;
  const auto export_to = [&](const std::string& format) {
    return run(kMpeft + " export --model " + base + " --adapter " + adapter + " --format " + format + " --output " +
               (folder / format).string() + " --json 2>/dev/null");
  };
  for (const std::string format : {"transformers", "state-spaces"}) {
    const auto exported = export_to(format);
    ASSERT_EQ(exported.exit_code, 0) << exported.output;
    EXPECT_EQ(json::parse(exported.output).at("kind"), "model");
    const auto merged = run(prompt + kMpeft + " generate --model " + (folder / format).string() + options);
    EXPECT_EQ(json::parse(adapted.output).at("ids"), json::parse(merged.output).at("ids")) << format;
  }
  EXPECT_TRUE(sfs::exists(folder / "state-spaces/pytorch_model.bin"));

  const auto delta = export_to("peft");  // PEFT has no such method
  ASSERT_EQ(delta.exit_code, 0) << delta.output;
  EXPECT_EQ(json::parse(delta.output).at("kind"), "delta");
  const auto held = run(kMpeft + " info " + (folder / "peft/delta.safetensors").string());
  for (const char* changed : {"layers.0.mixer.in_proj.weight", "layers.1.mixer.x_proj.weight", "layers.1.mixer.A_log"})
    EXPECT_THAT(held.output, HasSubstr(changed));
  EXPECT_THAT(held.output, Not(HasSubstr("out_proj")));

  EXPECT_EQ(export_to("peft").exit_code, 2);  // never over what is there
  EXPECT_EQ(export_to("onnx").exit_code, 2);
}

TEST(TrainProgram, RefusesAdaptersThatOverlap) {
  const test::TemporaryFolder folder;
  write(folder / "a.json", R"({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["in_proj"]})");
  write(folder / "b.json", R"({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["in_proj_z"]})");
  const std::string both = "peft: [" + (folder / "a.json").string() + ", " + (folder / "b.json").string() + "]\n";
  const auto outcome = run(kTrain + " --cfg " + tiny_experiment(folder, both) + " --dry-run");
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.output, HasSubstr("adapters that are applied together must not overlap"));
}

}  // namespace
}  // namespace mpeft
