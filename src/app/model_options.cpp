#include "app/model_options.h"

#include <algorithm>
#include <string_view>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"
#include "mpeft/model/precision.h"
#include "mpeft/peft/adapter.h"
#include "mpeft/train/device.h"

#include "app/experiment_data.h"

namespace mpeft::app {
namespace {

// As a shell takes it for one word.
std::string shell_word(const std::string& text) {
  const auto is_plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("_./:=@%+,-").find(c) != std::string_view::npos;
  };
  if (!text.empty() && std::all_of(text.begin(), text.end(), is_plain)) return text;
  return "'" + join(split(text, '\''), "'\\''") + "'";
}

}  // namespace

void ModelOptions::add_to(CLI::App& command) {
  command.add_option("--model", model, "folder, hub id, or a size of cfg/models (random weights)")->required();
  command.add_option("--adapter", adapter, "adapter folder (adapter_config.json + adapter_model.safetensors)");
  command.add_option("--device", device, "number of a GPU, or cpu (default: the first GPU if there is one)");
  command.add_option("--prec", prec, "bf16, fp16 or fp32")->capture_default_str();
  command.add_option("--seed", seed, "for random weights and sampling")->capture_default_str();
}

model::MambaLM load_model(const ModelOptions& options) {
  const at::Device device = train::resolve_device(options.device);
  const auto dtype = model::dtype_from_string(options.prec);
  auto loaded = model::make_model(options.model, options.seed);
  if (!options.adapter.empty()) peft::load_adapter(loaded.model, options.adapter);
  for (auto& parameter : loaded.model->parameters()) parameter.set_requires_grad(false);
  model::place_parameters(loaded.model, device, dtype);
  loaded.model->eval();
  return loaded.model;
}

std::unique_ptr<text::Tokenizer> load_tokenizer(const ModelOptions& options) {
  const config::ExperimentConfig defaults;
  return text::make_tokenizer(find_tokenizer(options.tokenizer, options.model, defaults.data_root));
}

bool finds_tokenizer(const ModelOptions& options, const text::Tokenizer& tokenizer) {
  try {
    return load_tokenizer(options)->fingerprint() == tokenizer.fingerprint();
  } catch (const Error&) {
    return false;
  }
}

std::string generate_command(const ModelOptions& options) {
  const ModelOptions defaults;
  std::string command = "mpeft generate --model " + shell_word(options.model);
  if (!options.adapter.empty()) command += " --adapter " + shell_word(options.adapter);
  if (!options.tokenizer.empty()) command += " --tokenizer " + shell_word(options.tokenizer);
  if (options.seed != defaults.seed) command += mpeft::str(" --seed ", options.seed);
  return command;
}

}  // namespace mpeft::app
