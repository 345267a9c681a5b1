// What `mpeft export` writes of each method: the kind that it says, and the same logits from what was written.

#include <algorithm>
#include <cmath>
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
using test::read;
using test::run;
using test::tiny_experiment;
using test::write;

struct Case {
  const char* adapter;
  const char* in_peft;    // kind with --format peft
  const char* elsewhere;  // kind with the other formats
};

const Case kCases[] = {
    {R"({"peft_type": "LORA", "r": 2, "target_modules": ["in_proj_x", "in_proj_z"]})", "adapter", "model"},
    {R"({"peft_type": "LORA", "r": 2, "target_modules": ["conv1d", "out_proj"]})", "delta", "model"},
    {R"({"peft_type": "BITFIT"})", "delta", "model"},
    {R"({"peft_type": "SD_LORA", "num_freeze": {"state": 0.75, "channel": 0.9}, "proj_lora_r": 2, "num_warmup_it": 1,
         "target_modules": ["A_log", "x_proj_B", "x_proj_C", "out_proj"]})",
     "delta", "model"},
    {R"({"peft_type": "ADDITIONAL_SCAN", "scan_addition_num": 2})", "delta", "model"},
    {R"({"peft_type": "COMPOSITE", "adapters": [{"peft_type": "LORA", "r": 2, "target_modules": ["in_proj_x"]},
         {"peft_type": "LORA", "r": 3, "target_modules": ["x_proj"]}]})",
     "adapter", "model"},
    {R"({"peft_type": "COMPOSITE", "adapters": [{"peft_type": "LORA", "r": 2, "target_modules": ["in_proj_x"]},
         {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 3}]})",
     "state", "state"},
    {R"({"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 3})", "adapter", "state"},
    {R"({"peft_type": "AFFIX_TUNING"})", "state", "state"},
    {R"({"peft_type": "SSMPEFT", "scan": {"type": "init_state", "init": "zero"}})", "state", "state"},
};

// The logits that a model, with an adapter or without, gives some ids; as the file holds them.
std::string logits(const test::TemporaryFolder& folder, const std::string& model, const std::string& adapter) {
  const std::string file = (folder / "logits.safetensors").string();
  const auto outcome = run("echo '[3, 17, 60, 5, 400]' | " + kMpeft + " logits --device cpu --prec fp32 --model " +
                           model + (adapter.empty() ? "" : " --adapter " + adapter) + " --output " + file);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  return test::read(file);
}

double largest_difference(const std::string& a, const std::string& b) {
  EXPECT_EQ(a.size(), b.size());
  uint64_t header = 0;
  std::memcpy(&header, a.data(), sizeof header);
  double largest = 0;
  for (size_t i = sizeof header + header; i + sizeof(float) <= std::min(a.size(), b.size()); i += sizeof(float)) {
    float x = 0, y = 0;
    std::memcpy(&x, a.data() + i, sizeof x);
    std::memcpy(&y, b.data() + i, sizeof y);
    largest = std::max(largest, std::abs(static_cast<double>(x) - y));
  }
  return largest;
}

TEST(ExportProgram, EveryKindOfMethodInEveryFormat) {
  const test::TemporaryFolder folder;
  ASSERT_EQ(
      run(kTrain + " --cfg " + tiny_experiment(folder) + " --set max_steps=1 --output " + (folder / "base").string())
          .exit_code,
      0);
  const std::string base = (folder / "base/model").string(), unadapted = logits(folder, base, "");
  int number = 0;
  for (const auto& c : kCases) {
    const std::string out = (folder / std::to_string(++number)).string();
    write(folder / "adapter.json", c.adapter);
    const auto trained =
        run(kTrain + " --cfg " + tiny_experiment(folder, "peft: " + (folder / "adapter.json").string()) +
            " --set max_steps=3 --set learning_rate=0.02 --model " + base + " --output " + out);
    ASSERT_EQ(trained.exit_code, 0) << trained.output;
    const std::string adapted = logits(folder, base, out + "/adapter");
    EXPECT_GT(largest_difference(adapted, unadapted), 1e-3) << c.adapter;

    for (const std::string format : {"peft", "transformers", "state-spaces"}) {
      const std::string written = out + "/" + format;
      const auto exported = run(kMpeft + " export --model " + base + " --adapter " + out + "/adapter --format " +
                                format + " --output " + written + " --json 2>/dev/null");
      ASSERT_EQ(exported.exit_code, 0) << c.adapter << format << exported.output;
      const std::string kind = json::parse(exported.output).at("kind");
      EXPECT_EQ(kind, format == "peft" ? c.in_peft : c.elsewhere) << c.adapter;
      if (std::string(c.adapter).find("COMPOSITE") != std::string::npos && kind == "state") {
        // The adapter's own tensors under its own configuration.
        EXPECT_EQ(read(written + "/state.safetensors").size(), read(out + "/adapter/adapter_model.safetensors").size());
        continue;
      }
      if (kind == "delta") {
        EXPECT_TRUE(sfs::exists(written + "/delta.safetensors"));
        EXPECT_EQ(sfs::exists(written + "/config.json"),
                  std::string(c.adapter).find("ADDITIONAL_SCAN") != std::string::npos);
        continue;
      }
      const std::string again = kind == "model" ? logits(folder, written, "") : logits(folder, base, written);
      EXPECT_LE(largest_difference(again, adapted), 2e-5) << c.adapter << " as " << format;
    }
  }
}

// Logits before and after are compared, and what they do not bear out is not written.
TEST(MergeProgram, WritesNothingAboveTheTolerance) {
  const test::TemporaryFolder folder;
  const std::string base = (folder / "base/model").string(), out = (folder / "lora").string();
  ASSERT_EQ(
      run(kTrain + " --cfg " + tiny_experiment(folder) + " --set max_steps=1 --output " + (folder / "base").string())
          .exit_code,
      0);
  write(folder / "adapter.json", R"({"peft_type": "LORA", "r": 2, "target_modules": ["in_proj", "out_proj"]})");
  const auto trained = run(kTrain + " --cfg " + tiny_experiment(folder, "peft: " + (folder / "adapter.json").string()) +
                           " --set max_steps=3 --set learning_rate=0.02 --model " + base + " --output " + out);
  ASSERT_EQ(trained.exit_code, 0) << trained.output;
  const auto refused = [&](const std::string& command, const std::string& more) {
    const std::string written = (folder / "merged").string();
    const auto outcome =
        run(kMpeft + " " + command + " --model " + base + " --adapter " + out + "/adapter --output " + written + more);
    EXPECT_EQ(outcome.exit_code, 3) << command << outcome.output;
    EXPECT_FALSE(sfs::exists(written)) << command;
    return outcome.output;
  };
  for (const std::string command : {"merge", "export", "export --format state-spaces"}) {
    EXPECT_THAT(refused(command, " --tolerance 1e-12"), ::testing::HasSubstr("more than --tolerance 1e-12"));
  }
  std::string bytes = read(out + "/adapter/adapter_model.safetensors");
  const float nan = std::nanf("");
  std::memcpy(bytes.data() + bytes.size() - sizeof nan, &nan, sizeof nan);
  write(out + "/adapter/adapter_model.safetensors", bytes);
  EXPECT_THAT(refused("merge", " --tolerance 1e30"), ::testing::HasSubstr("nan (relative L2)"));
}

}  // namespace
}  // namespace mpeft
