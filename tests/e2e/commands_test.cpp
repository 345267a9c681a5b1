// Commands of `mpeft` around a run: the one that `train` prints at its end, tokenizers, merged folders.

#include <algorithm>
#include <cstring>

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
using test::tiny_experiment;
using ::testing::HasSubstr;
using ::testing::Not;

const std::string kSampleTokenizer = MPEFT_SOURCE_DIR "/data/sample/tokenizer.json";
const char* const kLora = R"({"peft_type": "LORA", "r": 2, "target_modules": ["in_proj", "out_proj"]})";

// Without the line that names the tokenizer.
std::string without_tokenizer(const std::string& cfg) {
  std::string text = test::read(cfg);
  const size_t begin = text.find("tokenizer: ");
  text.erase(begin, text.find('\n', begin) + 1 - begin);
  test::write(cfg, text);
  return cfg;
}

// The command that a run printed after "use it: ".
std::string printed_command(const std::string& output) {
  const std::string mark = "use it: ";
  const size_t begin = output.find(mark);
  if (begin == std::string::npos) return "";
  return output.substr(begin + mark.size(), output.find('\n', begin) - begin - mark.size());
}

// Trains, runs what it prints as it stands, and gives that command; `environment` is "NAME=value " for both.
std::string trained_and_used(const std::string& arguments, const std::string& environment = "") {
  const auto trained = run(environment + kTrain + " " + arguments);
  EXPECT_EQ(trained.exit_code, 0) << trained.output;
  const std::string command = printed_command(trained.output);
  EXPECT_THAT(command, ::testing::StartsWith("mpeft generate --model "));
  const auto used = run("export " + environment + "PATH=" MPEFT_BIN_DIR ":$PATH; echo '\"Oslo###\"' | " + command);
  EXPECT_EQ(used.exit_code, 0) << command << "\n" << used.output;
  EXPECT_THAT(used.output, HasSubstr("\"prompt\":\"Oslo###\"")) << command;
  return command;
}

TEST(PrintedCommand, RunsAsItStandsForEveryKindOfResult) {
  const test::TemporaryFolder folder;
  const std::string adapter = folder.write("adapter.json", kLora).string();
  const std::string base = (folder / "it's a base").string(), quoted = "\"" + base + "\"";
  const std::string full =
      trained_and_used("--cfg " + tiny_experiment(folder) + " --set max_steps=1 --output " + quoted);
  EXPECT_THAT(full, Not(HasSubstr("--tokenizer"))) << "the result has it beside it";
  EXPECT_THAT(full, Not(HasSubstr("--adapter")));

  const std::string cfg = " --cfg " + tiny_experiment(folder, "peft: " + adapter) + " --set max_steps=1";
  const std::string adapted =
      trained_and_used(cfg + " --model \"" + base + "/model\" --output " + (folder / "adapted").string());
  EXPECT_THAT(adapted, HasSubstr(" --adapter "));
  EXPECT_THAT(adapted, Not(HasSubstr("--tokenizer"))) << "the base has it beside it";

  for (const std::string size : {"tiny", "cfg/models/tiny.yaml"}) {
    const std::string command = trained_and_used(cfg + " --overwrite --seed 7 --model " + size);
    EXPECT_THAT(command, HasSubstr("--model " + size));
    EXPECT_THAT(command, HasSubstr("--tokenizer data/sample/tokenizer.json"));
    EXPECT_THAT(command, HasSubstr("--seed 7")) << "the base that the adapter was trained on";
  }
}

// A base as it is published, without a tokenizer of its own: `train` and `mpeft generate` take the same one.
TEST(PrintedCommand, FindsTheTokenizerThatTheRunFound) {
  const test::TemporaryFolder folder;
  ASSERT_EQ(run(kTrain + " --cfg " + tiny_experiment(folder) + " --set max_steps=1").exit_code, 0);
  const auto base = folder / "base";
  sfs::copy(folder / "out/model", base);
  sfs::remove(base / "tokenizer.json");
  folder.write("adapter.json", kLora);
  const std::string cfg =
      without_tokenizer(tiny_experiment(folder, "peft: " + (folder / "adapter.json").string())) + " --set max_steps=1";
  const std::string hub = "HF_HUB_CACHE=" + (folder / "hub").string() + " ";
  const std::string arguments = "--overwrite --model " + base.string() + " --cfg " + cfg;

  const auto nowhere = run(hub + kTrain + " " + arguments);
  EXPECT_EQ(nowhere.exit_code, 3) << nowhere.output;
  EXPECT_THAT(nowhere.output, HasSubstr("no tokenizer; looked for"));
  const auto generated = run("echo '\"a\"' | " + hub + kMpeft + " generate --device cpu --model " + base.string());
  EXPECT_EQ(generated.exit_code, 3) << generated.output;
  EXPECT_THAT(generated.output, HasSubstr("mpeft: --tokenizer PATH"));

  folder.write("hub/models--EleutherAI--gpt-neox-20b/snapshots/0a/tokenizer.json", test::read(kSampleTokenizer));
  EXPECT_THAT(trained_and_used(arguments, hub), Not(HasSubstr("--tokenizer")));
  // One below another data root, which `mpeft generate` does not know of.
  const std::string root = (folder / "root").string();
  sfs::copy("" MPEFT_SOURCE_DIR "/data/sample", root, sfs::copy_options::recursive);
  folder.write("root/tokenizer/20B_tokenizer.json", test::read(kSampleTokenizer) + "\n");
  EXPECT_THAT(trained_and_used(arguments + " --data-root " + root, hub),
              HasSubstr("--tokenizer " + root + "/tokenizer/20B_tokenizer.json"));
}

TEST(GenerateCommand, RefusesATokenizerThatItFoundForAnotherModel) {
  const test::TemporaryFolder folder;
  folder.write("hub/models--EleutherAI--gpt-neox-20b/snapshots/0a/tokenizer.json", test::read(kSampleTokenizer));
  folder.write("small.yaml", "d_model: 32\nn_layer: 1\nvocab_size: 64\n");
  const auto outcome = run("echo '\"a\"' | HF_HUB_CACHE=" + (folder / "hub").string() + " " + kMpeft +
                           " generate --device cpu --model " + (folder / "small.yaml").string());
  EXPECT_EQ(outcome.exit_code, 2) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("they do not belong together; name the model's with --tokenizer"));
}

TEST(HubModels, TheTokenizerIsOfTheRevisionOfTheWeights) {
  const test::TemporaryFolder folder;
  ASSERT_EQ(run(kTrain + " --cfg " + tiny_experiment(folder) + " --set max_steps=1").exit_code, 0);
  const auto repository = folder / "hub/models--org--m";
  sfs::create_directories(repository / "snapshots");
  // Revisions that were downloaded once, of which a folder's order may name any first; and the one of refs/main.
  for (const std::string commit : {"00", "2a", "5b", "91", "b7", "c3", "e4", "ff"})
    folder.write("hub/models--org--m/snapshots/" + commit + "/tokenizer.json", "of another revision");
  sfs::copy(folder / "out/model", repository / "snapshots/7d");
  folder.write("hub/models--org--m/refs/main", "7d");
  const std::string hub = "HF_HUB_CACHE=" + (folder / "hub").string() + " ";
  const auto checked = run(hub + kTrain + " --dry-run --model org/m --cfg " +
                           without_tokenizer(tiny_experiment(folder)) + " --output " + (folder / "new").string());
  EXPECT_EQ(checked.exit_code, 0) << checked.output;
  const auto generated = run("echo '\"a\"' | " + hub + kMpeft + " generate --device cpu --model org/m");
  EXPECT_EQ(generated.exit_code, 0) << generated.output;
  // Without weights it is still the one of refs/main.
  sfs::remove(repository / "snapshots/7d/model.safetensors");
  const auto shown =
      run(hub + kMpeft + " data stats --cfg " + without_tokenizer(tiny_experiment(folder)) + " --set model=org/m");
  EXPECT_EQ(shown.exit_code, 0) << shown.output;
}

// "F32", "BF16", … of every tensor of a safetensors file.
std::vector<std::string> dtypes_of(const sfs::path& file) {
  const std::string bytes = test::read(file);
  uint64_t size = 0;
  std::memcpy(&size, bytes.data(), sizeof size);
  const json header = json::parse(bytes.substr(sizeof size, size));
  std::vector<std::string> dtypes;
  for (const auto& [name, tensor] : header.items()) {
    if (name != "__metadata__") dtypes.push_back(tensor.at("dtype"));
  }
  std::sort(dtypes.begin(), dtypes.end());
  dtypes.erase(std::unique(dtypes.begin(), dtypes.end()), dtypes.end());
  return dtypes;
}

class MergedFolder : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(run(kTrain + " --cfg " + tiny_experiment(folder_) + " --set max_steps=1").exit_code, 0);
    sfs::rename(folder_ / "out/model", base_);
    for (const char* name : {"tokenizer_config.json", "special_tokens_map.json", "generation_config.json"})
      test::write(base_ / name, std::string("{\"of\": \"") + name + "\"}\n");
    test::write(base_ / "README.md", "of the base");
    folder_.write("adapter.json", kLora);
    const auto trained =
        run(kTrain + " --cfg " + tiny_experiment(folder_, "peft: " + (folder_ / "adapter.json").string()) +
            " --overwrite --set max_steps=2 --model " + base_.string());
    ASSERT_EQ(trained.exit_code, 0) << trained.output;
  }

  // The folder that a command writes of `base` and the adapter.
  sfs::path written(const std::string& command, const std::string& base) {
    const auto path = folder_ / ("written-" + std::to_string(++n_written_));
    const auto outcome = run(kMpeft + " " + command + " --model " + base + " --adapter " +
                             (folder_ / "out/adapter").string() + " --output " + path.string());
    EXPECT_EQ(outcome.exit_code, 0) << command << outcome.output;
    return path;
  }

  const test::TemporaryFolder folder_;
  const sfs::path base_ = folder_ / "base";
  int n_written_ = 0;
};

TEST_F(MergedFolder, HasTheFilesThatLieBesideTheBase) {
  for (const std::string command : {"merge", "export", "export --format state-spaces"}) {
    const auto path = written(command, base_.string());
    for (const char* name :
         {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json"})
      EXPECT_EQ(test::read(path / name), test::read(base_ / name)) << command << ": " << name;
    EXPECT_FALSE(sfs::exists(path / "README.md"));
  }
}

TEST_F(MergedFolder, HasTheDtypeOfTheBaseOrTheOneThatIsAskedFor) {
  const auto as_base = written("merge", base_.string());
  EXPECT_THAT(dtypes_of(as_base / "model.safetensors"), ::testing::ElementsAre("F32"));
  const auto half = written("merge --dtype bf16", base_.string());
  EXPECT_THAT(dtypes_of(half / "model.safetensors"), ::testing::ElementsAre("BF16"));
  for (const std::string command : {"merge", "export"})
    EXPECT_THAT(dtypes_of(written(command, half.string()) / "model.safetensors"), ::testing::ElementsAre("BF16"));
  EXPECT_THAT(dtypes_of(written("export --dtype fp16", half.string()) / "model.safetensors"),
              ::testing::ElementsAre("F16"));
  // The other format: half of the bytes, and what it holds is read again.
  const auto zip = written("export --format state-spaces --dtype bf16", base_.string()),
             large = written("export --format state-spaces", base_.string());
  EXPECT_LT(sfs::file_size(zip / "pytorch_model.bin"), sfs::file_size(large / "pytorch_model.bin") * 2 / 3);
  const auto again =
      run("echo '\"a\"' | " + kMpeft + " generate --device cpu --max-new-tokens 4 --model " + zip.string());
  EXPECT_EQ(again.exit_code, 0) << again.output;
  const auto refused = run(kMpeft + " merge --dtype int8 --model x --adapter y --output z");
  EXPECT_EQ(refused.exit_code, 2);
}

// Random weights are drawn from the seed: the adapter's base is the one that it was trained on.
TEST_F(MergedFolder, OfASizeIsOfTheSeedsWeights) {
  const std::string cfg = tiny_experiment(folder_, "peft: " + (folder_ / "adapter.json").string());
  ASSERT_EQ(run(kTrain + " --overwrite --seed 5 --set max_steps=2 --model tiny --cfg " + cfg).exit_code, 0);
  const auto generate = [&](const std::string& flags) {
    const auto outcome = run("echo '\"Oslo###\"' | " + kMpeft +
                             " generate --device cpu --prec fp32 --tokenizer data/sample/tokenizer.json "
                             "--max-new-tokens 12 2>/dev/null " +
                             flags);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
    return json::parse(outcome.output).at("ids");
  };
  const auto merged = written("merge --seed 5", "tiny");
  EXPECT_EQ(generate("--model " + merged.string()),
            generate("--model tiny --seed 5 --adapter " + (folder_ / "out/adapter").string()));
  EXPECT_NE(test::read(merged / "model.safetensors"), test::read(written("merge", "tiny") / "model.safetensors"));
}

}  // namespace
}  // namespace mpeft
