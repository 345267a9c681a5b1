// What the programs say about files that are damaged, cut short or something else altogether: the file, the reason, the
// exit code of data and checkpoints, and never a crash.

#include <cstring>
#include <filesystem>
#include <functional>
#include <string>
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
using test::write;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;

// Changes the bytes of a file.
using Damage = std::function<std::string(std::string)>;

Damage first_bytes(size_t n) {
  return [n](const std::string& bytes) { return bytes.substr(0, n); };
}
Damage first_half() {
  return [](const std::string& bytes) { return bytes.substr(0, bytes.size() / 2); };
}
Damage becomes(const std::string& text) {
  return [text](const std::string&) { return text; };
}
// The first occurrence of `from`; of the same length where offsets count.
Damage with(const std::string& from, const std::string& to) {
  return [from, to](std::string bytes) {
    const size_t at = bytes.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return at == std::string::npos ? bytes : bytes.replace(at, from.size(), to);
  };
}
Damage one_bit_near_the_end(size_t from_end) {
  return [from_end](std::string bytes) {
    bytes[bytes.size() - from_end] ^= 1;
    return bytes;
  };
}
// The header's length of a safetensors file.
Damage header_claims(uint64_t n_bytes) {
  return [n_bytes](std::string bytes) {
    std::memcpy(bytes.data(), &n_bytes, sizeof n_bytes);
    return bytes;
  };
}

struct CorruptCase {
  const char* name;
  const char* file;     // below the folder that holds the good files
  Damage damage;        // null: the file is removed
  const char* command;  // {} stands for that folder
  const char* reason;
};

constexpr const char* kLogits = "mpeft logits --model {}/base/model --device cpu --prec fp32 --output {}/o.safetensors";
constexpr const char* kLogitsOfBin = "mpeft logits --model {}/bin --device cpu --prec fp32 --output {}/o.safetensors";
constexpr const char* kAdapted =
    "mpeft logits --model {}/base/model --adapter {}/lora/adapter --device cpu --prec fp32 --output {}/o.safetensors";
constexpr const char* kGenerate = "mpeft generate --model {}/base/model --device cpu --max-new-tokens 2";
constexpr const char* kResume = "train --cfg {}/x.yaml --resume --output {}/unfinished";
constexpr const char* kTrainAnew =
    "train --cfg {}/x.yaml --output {}/new --set data_root={} --set "
    "data_options={train_file: train.json, train_slice: {first: 8}}";
constexpr const char* kTrainLines =
    "train --cfg {}/x.yaml --output {}/new --set data=jsonl:{}/lines.jsonl --set "
    "data_options={input: '{question}', target: answer}";
constexpr const char* kScore = "mpeft score bleu --predictions {}/predictions.jsonl";

const char* const kWeights = "base/model/model.safetensors";

const std::vector<CorruptCase>& cases() {
  static const std::vector<CorruptCase> all = {
      // Weights
      {"weights_cut", kWeights, first_half(), kLogits, "data ends at byte"},
      {"weights_of_few_bytes", kWeights, first_bytes(5), kLogits, "5 bytes are too few"},
      {"weights_empty", kWeights, becomes(""), kLogits, "0 bytes are too few"},
      {"weights_with_a_huge_header", kWeights, header_claims(uint64_t{1} << 60), kLogits, "the header claims"},
      {"weights_with_a_broken_header", kWeights, with(",", ";"), kLogits, "not valid JSON"},
      {"weights_of_an_unknown_type", kWeights, with("\"F32\"", "\"F31\""), kLogits, "dtype 'F31' is not supported"},
      {"weights_of_another_shape", kWeights, with("[64,16]", "[16,64]"), kLogits, "expected [64, 16], found [16, 64]"},
      {"weights_of_another_name", kWeights, with("layers.0.mixer.A_log", "layers.0.mixer.A_lgo"), kLogits,
       "missing     backbone.layers.0.mixer.A_log"},
      {"weights_are_a_web_page", kWeights, becomes("<!DOCTYPE html><html><body>404</body></html>"), kLogits, "HTML"},
      {"weights_are_a_pointer", kWeights,
       becomes("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 999\n"), kLogits, "Git LFS pointer"},
      {"weights_absent", kWeights, nullptr, kLogits, "the folder has no"},
      {"pickle_cut", "bin/pytorch_model.bin", first_half(), kLogitsOfBin, "it is truncated"},
      {"pickle_with_a_flipped_bit", "bin/pytorch_model.bin", with("_rebuild_tensor_v2", "_rebuild_tensor_v3"),
       kLogitsOfBin, "does not match its checksum"},
      {"pickle_that_is_text", "bin/pytorch_model.bin", becomes("import os"), kLogitsOfBin, "not a zip archive"},
      // The model's configuration
      {"config_cut", "base/model/config.json", first_half(), kLogits, ": not valid JSON: syntax error"},
      {"config_with_a_text_for_a_number", "base/model/config.json",
       with("\"hidden_size\": 32", "\"hidden_size\": \"x\""), kLogits, "hidden_size"},
      {"config_of_another_size", "base/model/config.json", with("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3"),
       kLogits, "backbone.layers.2"},
      {"config_of_a_giant", "base/model/config.json", with("\"hidden_size\": 32", "\"hidden_size\": 3200000000"),
       kLogits, "hidden_size"},
      // The tokenizer
      {"tokenizer_cut", "base/model/tokenizer.json", first_half(), kGenerate, ": not valid JSON: syntax error"},
      {"tokenizer_of_another_kind", "base/model/tokenizer.json", with("\"BPE\"", "\"WordPiece\""), kGenerate,
       "WordPiece"},
      // Adapters
      {"adapter_config_cut", "lora/adapter/adapter_config.json", first_half(), kAdapted,
       ": not valid JSON: syntax error"},
      {"adapter_of_another_rank", "lora/adapter/adapter_config.json", with("\"r\": 4", "\"r\": 8"), kAdapted,
       "expected [8,"},
      {"adapter_weights_cut", "lora/adapter/adapter_model.safetensors", first_half(), kAdapted, "data ends at byte"},
      {"adapter_weights_absent", "lora/adapter/adapter_model.safetensors", nullptr, kAdapted, "has no weights"},
      // Checkpoints
      {"optimizer_with_a_flipped_bit", "unfinished/checkpoint-5/optimizer.safetensors", one_bit_near_the_end(9),
       kResume, "optimizer.safetensors: does not match its SHA-256 checksum"},
      {"state_cut", "unfinished/checkpoint-5/state.json", first_half(), kResume, "no checkpoint is intact"},
      // Data and predictions
      {"records_cut", "dart/train.json", first_half(), kTrainAnew, "train.json"},
      {"records_of_another_form", "dart/train.json", becomes("{\"a\": 1}"), kTrainAnew, "train.json"},
      {"records_absent", "dart/train.json", nullptr, kTrainAnew, "train.json"},
      {"a_line_that_is_no_record", "lines.jsonl", becomes("{\"question\": \"a\", \"answer\": \"b\"}\n{\"question\": "),
       kTrainLines, "lines.jsonl:2:14: not valid JSON: "},
      {"a_line_without_a_field", "lines.jsonl", with("\"answer\"", "\"anwser\""), kTrainLines, "did you mean 'anwser'"},
      {"a_line_that_is_no_text", "lines.jsonl", becomes("{\"question\": \"\xff\", \"answer\": \"b\"}\n"), kTrainLines,
       "lines.jsonl"},
      {"a_prediction_cut", "predictions.jsonl", first_bytes(30), kScore, "predictions.jsonl:1:31: not valid JSON"},
  };
  return all;
}

class CorruptFile : public ::testing::TestWithParam<size_t> {
 protected:
  // One base model, its adapter, an unfinished run and the data, made once.
  static void SetUpTestSuite() {
    good_ = new test::TemporaryFolder();
    const sfs::path& good = good_->path();
    const std::string cfg = test::tiny_experiment(*good_);
    good_->write("lora.json", R"({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["in_proj"]})");
    const auto train = [&](const std::string& flags) {
      const auto outcome = run(kTrain + " --cfg " + cfg + " --set num_epochs=1 " + flags);
      ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
    };
    train("--output " + (good / "base").string());
    train("--output " + (good / "lora").string() + " --model " + (good / "base/model").string() +
          " --set peft=" + (good / "lora.json").string());
    const auto exported =
        run(kMpeft + " export --format state-spaces --model " + (good / "base/model").string() + " --adapter " +
            (good / "lora/adapter").string() + " --output " + (good / "bin").string());
    ASSERT_EQ(exported.exit_code, 0) << exported.output;

    ASSERT_EQ(run(kTrain + " --cfg " + cfg + " --output " + (good / "unfinished").string()).exit_code, 0);
    for (const char* lost : {"unfinished/checkpoint-10", "unfinished/model"}) sfs::remove_all(good / lost);
    auto manifest = json::parse(read(good / "unfinished/manifest.json"));
    manifest["finished"] = false;
    good_->write("unfinished/manifest.json", manifest.dump());

    good_->write("dart/train.json", read(MPEFT_SOURCE_DIR "/data/sample/dart/people-train.json"));
    good_->write("lines.jsonl", "{\"question\": \"a\", \"answer\": \"b\"}\n{\"question\": \"c\", \"answer\": \"d\"}\n");
    good_->write("predictions.jsonl", "{\"prediction\": \"a b c d\", \"references\": [\"a b c d\"]}\n");
  }
  static void TearDownTestSuite() {
    delete good_;
    good_ = nullptr;
  }

  static test::Outcome run_in(const sfs::path& folder, std::string command) {
    for (size_t at = 0; (at = command.find("{}", at)) != std::string::npos;) command.replace(at, 2, folder.string());
    const std::string program = command.starts_with("train") ? kTrain : kMpeft;
    std::string line = "printf '[1, 2]\\n' | ";
    if (command.find("generate") != std::string::npos) line = "printf '\"a\"\\n' | ";
    // Values of --set hold spaces and quotes.
    std::string arguments = command.substr(command.find(' '));
    for (size_t at = 0; (at = arguments.find("--set ", at)) != std::string::npos;) {
      const size_t begin = at + 6, end = std::min(arguments.find(" --set ", begin), arguments.size());
      const std::string quoted = "\"" + arguments.substr(begin, end - begin) + "\"";
      arguments.replace(begin, end - begin, quoted);
      at = begin + quoted.size();
    }
    return run(line + program + arguments);
  }

  static test::TemporaryFolder* good_;
};
test::TemporaryFolder* CorruptFile::good_ = nullptr;

TEST_P(CorruptFile, IsNamedWithTheReason) {
  const auto& corrupt = cases()[GetParam()];
  const test::TemporaryFolder copy;
  sfs::copy(good_->path(), copy.path(), sfs::copy_options::recursive | sfs::copy_options::overwrite_existing);
  // The experiment's own paths are those of the good folder, which stays.
  const sfs::path file = copy / corrupt.file;
  if (corrupt.damage) {
    write(file, corrupt.damage(read(file)));
  } else {
    sfs::remove(file);
  }
  const auto outcome = run_in(copy.path(), corrupt.command);
  EXPECT_EQ(outcome.exit_code, 3) << outcome.output;
  const sfs::path parent = file.parent_path();
  EXPECT_THAT(outcome.output, AnyOf(HasSubstr(file.string()), HasSubstr(parent.string()))) << "says which file";
  EXPECT_THAT(outcome.output, AllOf(HasSubstr("error: "), HasSubstr(corrupt.reason)));
  EXPECT_THAT(outcome.output, AllOf(Not(HasSubstr("LibTorch: ")), Not(HasSubstr("terminate called"))));
  EXPECT_FALSE(sfs::exists(copy / "o.safetensors")) << "nothing half-made";
}

INSTANTIATE_TEST_SUITE_P(Files, CorruptFile, ::testing::Range(size_t{0}, cases().size()),
                         [](const auto& test_case) { return std::string(cases()[test_case.param].name); });

// The control: what the cases damage is fine before, so that none of them passes for another reason.
TEST_F(CorruptFile, TheUndamagedFilesAreAllRead) {
  for (const char* command : {kLogits, kLogitsOfBin, kAdapted, kGenerate, kResume, kTrainAnew, kTrainLines, kScore}) {
    const test::TemporaryFolder copy;
    sfs::copy(good_->path(), copy.path(), sfs::copy_options::recursive | sfs::copy_options::overwrite_existing);
    const auto outcome = run_in(copy.path(), command);
    EXPECT_EQ(outcome.exit_code, 0) << command << "\n" << outcome.output;
  }
}

}  // namespace
}  // namespace mpeft
