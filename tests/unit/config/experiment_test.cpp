#include "mpeft/config/experiment.h"

#include <filesystem>
#include <fstream>
#include <sstream>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"
#include "mpeft/core/strings.h"

namespace mpeft::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::string kMinimal = "model: state-spaces/mamba-130m\ndata: dart\n";

ExperimentConfig load(const std::string& yaml, const ExperimentOverrides& overrides = {}) {
  return load_experiment_from_string(yaml, "cfg/my.yaml", overrides, {.check_files = false});
}

std::string error_of(const std::string& yaml, const ExperimentOverrides& overrides = {}, bool check_files = false) {
  try {
    load_experiment_from_string(yaml, "cfg/my.yaml", overrides, {.check_files = check_files});
  } catch (const ConfigError& e) {
    return e.what();
  }
  return "";
}

TEST(ExperimentTest, DefaultsAreTheReferencesOnes) {
  const auto config = load(kMinimal);
  EXPECT_EQ(config.num_epochs, 10);
  EXPECT_EQ(config.prec, "bf16");
  EXPECT_EQ(config.optim, "adamw_torch");
  EXPECT_DOUBLE_EQ(config.learning_rate, 5e-4);
  EXPECT_EQ(config.batch_size, 4);
  EXPECT_EQ(config.gradient_accumulation_steps, 1);
  EXPECT_EQ(config.eval_epochs, 1);
  EXPECT_EQ(config.seed, 42U);
  EXPECT_DOUBLE_EQ(config.weight_decay, 0);
  EXPECT_DOUBLE_EQ(config.max_grad_norm, 1);
  EXPECT_EQ(config.lr_scheduler, "linear");
  EXPECT_EQ(config.warmup_steps, 0);
  EXPECT_TRUE(config.master_weights);
  EXPECT_TRUE(config.generate);
  EXPECT_EQ(config.val_data_split, "val");
  EXPECT_EQ(config.output_dir, "weights/my");
  EXPECT_TRUE(config.peft.empty());
}

TEST(ExperimentTest, EveryKeyOfTheReferenceIsRead) {
  const auto config = load(
      "model: m\ntokenizer: t\ndata: glue-tvt_rte\nval_data: dart\nval_data_split: test\nnum_epochs: 3\nprec: fp16\n"
      "peft: [a.json, b.json]\noptim: adamw_torch\nlearning_rate: 4.0e-05\ngradient_accumulation_steps: 2\n"
      "num_data_workers: 1\nbatch_size: 2\neval_gen:\n  max_length: 100\n  min_length: 5\n  num_beams: 1\n  top_k: 4\n"
      "  top_p: 0.9\n  temperature: 0.7\nbackend: cuda\ndebug: true\nresume: true\noverwrite: false\nlock: true\n"
      "no_save: false\nskip_eval: false\neval_epochs: 2\nmin_eval_metric_after_epoch: {1: 0.25, 3: 0.5}\nseed: 7\n");
  EXPECT_EQ(config.tokenizer, "t");
  EXPECT_EQ(config.val_data, "dart");
  EXPECT_EQ(config.val_data_split, "test");
  EXPECT_THAT(config.peft, ElementsAre("a.json", "b.json"));
  EXPECT_DOUBLE_EQ(config.learning_rate, 4e-5);
  EXPECT_EQ(config.eval_gen.top_k, 4);
  EXPECT_TRUE(config.eval_gen.do_sample);
  EXPECT_TRUE(config.resume && config.lock && config.debug);
  EXPECT_EQ(config.min_eval_metric_after_epoch, (std::map<int64_t, double>{{1, 0.25}, {3, 0.5}}));
  EXPECT_EQ(config.seed, 7U);
}

TEST(ExperimentTest, AllProblemsAreReportedAtOnceWithTheirPlaces) {
  const std::string error =
      error_of("model: m\ndata: dart\n\nlerning_rate: 1\nprec: bf17\npeft: null\nbatch_size: 4x\n");
  EXPECT_THAT(error, HasSubstr("cfg/my.yaml:4:15: lerning_rate: unknown key (did you mean 'learning_rate'?)"));
  EXPECT_THAT(error, HasSubstr("cfg/my.yaml:5:7: prec: expected one of bf16, fp16, fp32, got 'bf17'"));
  EXPECT_THAT(error, HasSubstr("cfg/my.yaml:7:13: batch_size: expected a positive integer, got '4x'"));
  EXPECT_EQ(split(error, '\n').size(), 3U);
}

TEST(ExperimentTest, ProblemsComeInTheOrderOfTheFileAndFlagsLast) {
  Problems problems;
  for (const char* message : {"--set: b: x", "a.yaml:10:2: k: x", "a.yaml:9:30: k: a:1:1: x", "a.yaml:9:4: k: x"})
    problems.add(message);
  try {
    problems.throw_if_any();
    FAIL();
  } catch (const ConfigError& e) {
    EXPECT_STREQ(e.what(), "a.yaml:9:4: k: x\na.yaml:9:30: k: a:1:1: x\na.yaml:10:2: k: x\n--set: b: x");
  }
}

TEST(ExperimentTest, ADataSetThatIsNoneIsReportedWithTheRest) {
  const LoadOptions options{.check_files = false,
                            .data_problem = [](const std::string& name) { return name == "dart" ? "" : name + "?"; }};
  EXPECT_NO_THROW(load_experiment_from_string(kMinimal, "cfg/my.yaml", {}, options));
  try {
    load_experiment_from_string("model: m\ndata: drat\nval_data: trad\nprec: x\n", "cfg/my.yaml", {}, options);
    FAIL();
  } catch (const ConfigError& e) {
    EXPECT_THAT(e.what(),
                HasSubstr("cfg/my.yaml:2:7: data: drat?\ncfg/my.yaml:3:11: val_data: trad?\ncfg/my.yaml:4:7"));
  }
}

class BadValue : public testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(BadValue, IsNamedWithItsKey) {
  const auto [line, message] = GetParam();
  EXPECT_THAT(error_of(kMinimal + line + "\n"), HasSubstr(message)) << line;
}

INSTANTIATE_TEST_SUITE_P(
    Keys, BadValue,
    testing::Values(
        std::pair{"num_epochs: 0", "num_epochs"}, std::pair{"learning_rate: -1", "learning_rate"},
        std::pair{"learning_rate: fast", "expected a number"}, std::pair{"max_grad_norm: [1]", "got a list"},
        std::pair{"gradient_accumulation_steps: 0", "gradient_accumulation_steps"},
        std::pair{"optim: adamw_trch", "did you mean 'adamw_torch'"},
        std::pair{"lr_scheduler: lineer", "did you mean 'linear'"}, std::pair{"warmup_steps: -1", "warmup_steps"},
        std::pair{"seed: -3", "seed"}, std::pair{"seed: x", "seed"},
        std::pair{"resume: maybe", "expected true or false"}, std::pair{"val_data_split: vall", "did you mean 'val'"},
        std::pair{"predictions_format: xml", "predictions_format"}, std::pair{"device: gpu", "expected auto, cpu"},
        std::pair{"device: -1", "expected auto, cpu"}, std::pair{"backend: rocm", "backend"},
        std::pair{"data_options: 5", "expected a map"}, std::pair{"peft: [[x]]", "peft[0]"},
        std::pair{"peft: [a.json, a.json]", "the same adapter twice"},
        std::pair{"eval_gen: {num_beam: 3}", "did you mean 'num_beams'"},
        std::pair{"eval_gen: {top_p: 1.5}", "must be between 0 and 1"},
        std::pair{"eval_gen: {num_beams: 5, top_k: 3}", "beam search does not sample"},
        std::pair{"eval_gen: {min_length: 50, max_length: 20}", "larger than max_length"},
        std::pair{"eval_gen: {num_beams: 1, do_sample: false, top_k: 3}", "act on sampling only"},
        std::pair{"min_eval_metric_after_epoch: {first: 1}", "number of an epoch"},
        std::pair{"min_eval_metric_after_epoch: 0.5", "expected a map"},
        std::pair{"min_eval_metric_after_epoch: {11: 0.5}", "after the last"},
        std::pair{"resume: true\noverwrite: true", "contradicts overwrite"},
        std::pair{"resume: true\nno_save: true", "contradicts no_save"},
        std::pair{"skip_eval: true\nmin_eval_metric_after_epoch: {1: 0.5}", "contradicts skip_eval"},
        std::pair{"max_steps: 10\nwarmup_steps: 10", "never ends"}, std::pair{"data: dart", "duplicate key"}));

TEST(ExperimentTest, MissingKeysAreNamed) {
  const std::string error = error_of("batch_size: 2\n");
  EXPECT_THAT(error, HasSubstr("model: missing"));
  EXPECT_THAT(error, HasSubstr("data: missing"));
  EXPECT_THAT(error_of(""), HasSubstr("model: missing"));
  EXPECT_THAT(error_of("- 1\n"), HasSubstr("expected a map"));
}

TEST(ExperimentTest, OverwriteAndResumeOnTheCommandLineSwitchOffTheOtherOfTheFile) {
  const auto anew = load(kMinimal + "resume: true\n", {.flags = {{"overwrite", "true"}}});
  EXPECT_TRUE(anew.overwrite && !anew.resume);
  const auto on = load(kMinimal + "overwrite: true\n", {.flags = {{"resume", "true"}}});
  EXPECT_TRUE(on.resume && !on.overwrite);
  EXPECT_THROW(load(kMinimal, {.flags = {{"resume", "true"}, {"overwrite", "true"}}}), ConfigError);
}

TEST(ExperimentTest, CommandLineWinsOverTheFileAndFlagsOverSet) {
  const auto config = load(kMinimal + "batch_size: 4\neval_gen: {num_beams: 5}\n",
                           {.set = {"batch_size=8", "eval_gen.num_beams=1", "peft=[a.json,b.json]", "model=x"},
                            .flags = {{"model", "null"}, {"resume", "true"}}});
  EXPECT_EQ(config.batch_size, 8);
  EXPECT_EQ(config.eval_gen.num_beams, 1);
  EXPECT_EQ(config.peft.size(), 2U);
  EXPECT_EQ(config.model, "null") << "the text of a flag is not YAML";
  EXPECT_TRUE(config.resume);
}

TEST(ExperimentTest, WrongOverridesAreProblemsThatNameTheFlag) {
  EXPECT_THAT(error_of(kMinimal, {.set = {"batch_size"}}), HasSubstr("--set batch_size: expected key=value"));
  EXPECT_THAT(error_of(kMinimal, {.set = {"batch_sizes=3"}}), HasSubstr("did you mean 'batch_size'"));
  EXPECT_THAT(error_of(kMinimal, {.set = {"model.x=3"}}), HasSubstr("'model' is"));
  EXPECT_THAT(error_of(kMinimal, {.set = {"batch_size=[3"}}), HasSubstr("--set"));
  EXPECT_THAT(error_of(kMinimal, {.flags = {{"prec", "bf8"}}}), HasSubstr("--prec: prec: expected one of"));
}

TEST(ExperimentTest, NullSwitchesGenerationOffAndAbsenceDoesNot) {
  EXPECT_FALSE(load(kMinimal + "eval_gen: null\n").generate);
  EXPECT_TRUE(load(kMinimal).generate);
}

TEST(ExperimentTest, TheDumpLoadsToTheSameConfiguration) {
  const std::vector<std::string> files = {
      kMinimal, kMinimal + "eval_gen: null\n",
      kMinimal +
          "learning_rate: 4e-05\nweight_decay: 0.1\nmin_eval_metric_after_epoch: {2: 0.125}\nprompt: 'a: \"b\"\n\n  "
          "c'\n"
          "peft: [a.json, b.json]\ndata_options: {fields: {input: q}, template: \"x: {q}\\n\", n: '4', list: [1, a]}\n",
      "model: '1'\ndata: 'jsonl:a b.jsonl'\nval_data: 'no'\neval_gen: {num_beams: 1, top_k: 5}\nseed: "
      "9223372036854775807\n"};
  for (const auto& file : files) {
    const std::string dump = dump_yaml(load(file));
    const auto again = load_experiment_from_string(dump, "other.yaml", {}, {.check_files = false});
    EXPECT_EQ(dump_yaml(again), dump) << file;
    EXPECT_EQ(again.learning_rate, load(file).learning_rate);
    EXPECT_EQ(again.model, load(file).model);
    EXPECT_EQ(again.prompt, load(file).prompt);
    const auto given = load(file).data_options;
    EXPECT_EQ(again.data_options.dump(), given.is_present() ? given.dump() : "~");
  }
}

TEST(ExperimentTest, EveryKeyOfTheDumpIsAKey) {
  EXPECT_THAT(experiment_keys(), testing::Contains("gradient_accumulation_steps"));
  EXPECT_THAT(experiment_keys(), testing::Contains("data_options"));
}

TEST(ExperimentTest, OutputFolderFollowsThePathOfTheConfiguration) {
  EXPECT_EQ(experiment_output_dir("cfg/exps/A/b.yaml"), "weights/A/b");
  EXPECT_EQ(experiment_output_dir("./cfg/exps/A/../B/c.d.yaml"), "weights/B/c.d");
  EXPECT_EQ(experiment_output_dir("cfg/quickstart.yaml"), "weights/quickstart");
  EXPECT_EQ(experiment_output_dir("/home/u/p/cfg/exps/A/b.yaml"), "weights/A/b");
  EXPECT_EQ(experiment_output_dir("b.yaml"), "weights/b");
  EXPECT_EQ(experiment_output_dir("x/y.yaml"), "weights/x/y");
  EXPECT_EQ(experiment_output_dir("/etc/y.yaml"), "weights/y");
  EXPECT_EQ(experiment_output_dir("../../y.yaml"), "weights/y");
}

class ExperimentFilesTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = std::filesystem::temp_directory_path() / str("mpeft-experiment-", ::getpid());
    std::filesystem::create_directories(root_ / "cfg/exps/a");
    std::filesystem::create_directories(root_ / "cfg/peft/of_this_test/r8");
    fs::write_file_atomic(root_ / "cfg/peft/of_this_test/r8/lora_outproj.json", "{}");
  }
  void TearDown() override { std::filesystem::remove_all(root_); }
  std::string write(const std::string& yaml) {
    fs::write_file_atomic(root_ / "cfg/exps/a/b.yaml", yaml);
    return (root_ / "cfg/exps/a/b.yaml").string();
  }
  std::string error_of_file(const std::string& yaml) {
    try {
      load_experiment(write(yaml));
    } catch (const ConfigError& e) {
      return e.what();
    }
    return "";
  }
  std::filesystem::path root_;
};

// The names are of no file of this repository: the working folder comes first, and the test may start there.
TEST_F(ExperimentFilesTest, AnAdapterIsFoundFromTheRootOfTheTree) {
  const auto config = load_experiment(write(kMinimal + "peft: cfg/peft/of_this_test/r8/lora_outproj.json\n"));
  ASSERT_EQ(config.peft.size(), 1U);
  EXPECT_EQ(config.peft[0], (root_ / "cfg/peft/of_this_test/r8/lora_outproj.json").string());
  EXPECT_EQ(config.output_dir, "weights/a/b");
}

TEST_F(ExperimentFilesTest, AMisspeltFileGetsTheNearestOne) {
  const std::string base = root_.string() + "/cfg/peft/of_this_test/";
  EXPECT_THAT(error_of_file(kMinimal + "peft: " + base + "r8/lora_outprj.json\n"),
              HasSubstr("no such file (nearest: lora_outproj.json)"));
  EXPECT_THAT(error_of_file(kMinimal + "peft: " + base + "r9/lora_outproj.json\n"),
              HasSubstr("(nearest: " + base + "r8)"));
  EXPECT_THAT(error_of_file("model: cfg/models/none.yaml\ndata: dart\n"),
              HasSubstr("model: cfg/models/none.yaml: no such file"));
  write(kMinimal);
  EXPECT_THROW(
      {
        try {
          load_experiment((root_ / "cfg/exps/a/c.yaml").string());
        } catch (const ConfigError& e) {
          EXPECT_THAT(e.what(), HasSubstr("no such file (nearest: b.yaml)"));
          throw;
        }
      },
      ConfigError);
  try {
    load_experiment((root_ / "cfg/exps").string());
    FAIL();
  } catch (const ConfigError& e) {
    EXPECT_THAT(e.what(), HasSubstr("a folder, not a file"));
  }
}

TEST(ExperimentTest, ChangesAreThoseOfWhatIsTrainedAndMeasured) {
  const auto load = [](const std::string& more) {
    return load_experiment_from_string("model: tiny\ndata: dart\ndata_options: {metrics: [bleu]}\n" + more, "x.yaml",
                                       {}, {.check_files = false, .data_problem = nullptr});
  };
  const auto before = load("");
  EXPECT_TRUE(changed_settings(before, load("")).empty());
  EXPECT_TRUE(changed_settings(before, load("num_epochs: 10\n")).empty());  // the default
  EXPECT_TRUE(
      changed_settings(before, load("device: cpu\noutput_dir: elsewhere\nlog_steps: 1\nresume: true\n")).empty());
  auto elsewhere = load("");
  elsewhere.peft = {"/home/a/cfg/lora.json"};
  auto here = load("");
  here.peft = {"cfg/lora.json"};
  EXPECT_TRUE(changed_settings(here, elsewhere).empty());  // from another working folder
  EXPECT_TRUE(changed_settings(elsewhere, here).empty());
  auto data_here = here, data_elsewhere = here;
  data_here.data = "jsonl:data/x.jsonl";
  data_elsewhere.data = "jsonl:/home/a/data/x.jsonl";
  EXPECT_TRUE(changed_settings(data_here, data_elsewhere).empty());
  here.peft = {"fg/lora.json"};
  EXPECT_THAT(changed_settings(here, elsewhere), ElementsAre("peft: fg/lora.json → /home/a/cfg/lora.json"));
  EXPECT_THAT(changed_settings(before, load("num_epochs: 3\ndebug: true\n")),
              ElementsAre("num_epochs: 10 → 3", "debug: false → true"));
  auto options = load("");
  options.data_options = load_experiment_from_string("model: tiny\ndata: dart\ndata_options: {metrics: [chrf]}\n",
                                                     "y.yaml", {}, {.check_files = false, .data_problem = nullptr})
                             .data_options;
  EXPECT_THAT(changed_settings(before, options), ElementsAre("data_options.metrics: [bleu] → [chrf]"));
}

TEST(ExperimentTest, ARunGoesOnWithTheSettingsThatDecideItsResult) {
  const auto load = [](const std::string& more) {
    return load_experiment_from_string("model: a/tiny\ndata: jsonl:old/x.jsonl\n" + more, "x.yaml", {},
                                       {.check_files = false, .data_problem = nullptr});
  };
  const auto before = load("peft: old/lora.json\n");
  const auto now = [&](const std::string& more) {
    return changes_against_resume(before, load("peft: old/lora.json\n" + more));
  };
  // How it is measured, and where and how it runs.
  EXPECT_THAT(now("device: cpu\nlog_steps: 1\nsave_minutes: 0.5\nsave_total_limit: 0\nresume: true\noutput_dir: x\n"),
              ElementsAre());
  EXPECT_THAT(now("eval_epochs: 3\neval_before_training: true\neval_batch_size: 2\nno_save: true\n"
                  "min_eval_metric_after_epoch: {2: 0.5}\n"),
              ElementsAre());
  EXPECT_THAT(now("skip_eval: true\n"), ElementsAre());
  // Each alone, as all of them would pass where one is forgotten.
  for (const char* setting :
       {"prompt: Answer.", "weight_decay: 0.1", "max_grad_norm: 0", "prec: fp32", "master_weights: false",
        "max_length: 64", "batch_size: 2", "gradient_accumulation_steps: 2", "learning_rate: 1", "lr_scheduler: cosine",
        "warmup_steps: 3", "seed: 1", "num_epochs: 11", "max_steps: 5", "debug: true", "val_data: dart",
        "val_data_split: test", "eval_gen: null", "data_options: {target: a}"})
    EXPECT_EQ(now(std::string(setting) + "\n").size(), 1U) << setting;
  EXPECT_THAT(now("prompt: Answer.\nprec: fp32\nweight_decay: 0.1\n"),
              ElementsAre("prompt: ~ → Answer.", "prec: bf16 → fp32", "weight_decay: 0 → 0.1"));
  // Files that have moved are the same ones where their contents are, which others compare.
  auto moved = before;
  moved.model = "b/other";
  moved.tokenizer = "t";
  moved.data = "jsonl:new/x.jsonl";
  moved.peft = {"new/lora.json"};
  EXPECT_THAT(changes_against_resume(before, moved), ElementsAre());
  moved.model = "cfg/models/130m.yaml";  // no weights
  moved.data = "jsonl:old/y.jsonl";
  moved.peft = {"old/other.json"};
  EXPECT_THAT(changes_against_resume(before, moved), testing::SizeIs(3));
}

TEST(ExperimentTest, ARunOfConstantLearningRateMayBecomeLonger) {
  const auto load = [](const std::string& more) {
    return load_experiment_from_string("model: a/tiny\ndata: dart\n" + more, "x.yaml", {},
                                       {.check_files = false, .data_problem = nullptr});
  };
  const auto before = load("lr_scheduler: constant\nnum_epochs: 2\nmax_steps: 9\n");
  const auto longer = load("lr_scheduler: constant\nnum_epochs: 3\n");
  EXPECT_THAT(changes_against_resume(before, longer), ElementsAre());
  EXPECT_TRUE(is_extension(before, longer));
  EXPECT_FALSE(is_extension(before, before));
  EXPECT_FALSE(is_extension(longer, before));
  EXPECT_FALSE(is_extension(longer, load("lr_scheduler: constant\nnum_epochs: 2\n")));
  EXPECT_FALSE(is_extension(before, load("lr_scheduler: constant\nnum_epochs: 3\nmax_steps: 8\n")));
  EXPECT_FALSE(is_extension(before, load("lr_scheduler: constant\nnum_epochs: 3\nseed: 1\n")));
  EXPECT_FALSE(is_extension(load("num_epochs: 2\n"), load("num_epochs: 3\n")));
  // Measured otherwise on the way, which alone makes it no longer; but a result that is not written is the old one.
  EXPECT_TRUE(
      is_extension(before, load("lr_scheduler: constant\nnum_epochs: 3\nskip_eval: true\neval_batch_size: 2\n")));
  EXPECT_FALSE(is_extension(longer, load("lr_scheduler: constant\nnum_epochs: 3\nskip_eval: true\n")));
  EXPECT_FALSE(is_extension(before, load("lr_scheduler: constant\nnum_epochs: 3\nno_save: true\n")));
  EXPECT_FALSE(is_extension(load("num_epochs: 2\n"), load("lr_scheduler: constant\nnum_epochs: 3\n")));
}

// One row of each kind that the published table of 286 experiments holds: path, data, model, adapter, precision,
// rate, batch, epochs, and the keys that not every row has.
TEST(ExperimentTest, TypicalRowsOfThePublishedTableParse) {
  const char* const rows[] = {
      "model: state-spaces/mamba-130m\ndata: cifar-tvt\npeft: null\nprec: bf16\nlearning_rate: 0.0001\nbatch_size: 4\n"
      "num_epochs: 5\nno_save: false\n",
      "model: state-spaces/mamba-1.4b\ndata: spider-tvt\npeft: cfg/peft/lora/r8/lora_all_no_embed_conv.json\nprec: "
      "bf16\n"
      "learning_rate: 4e-05\nbatch_size: 4\nnum_epochs: 10\nseed: 42\neval_gen: {max_length: 1024, min_length: 5, "
      "num_beams: 5}\n",
      "model: state-spaces/mamba-2.8b\ndata: glue-tvt_cola\npeft: cfg/peft/layer_freeze/A_log_B_C_D_delta_conv.json\n"
      "prec: fp32\nlearning_rate: 0.04\nbatch_size: 1\nnum_epochs: 3\nno_save: false\n",
  };
  for (const char* row : rows) EXPECT_EQ(error_of(row), "") << row;
}

}  // namespace
}  // namespace mpeft::config
