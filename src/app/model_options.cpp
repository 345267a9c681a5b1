#include "app/model_options.h"

#include <filesystem>

#include "mpeft/checkpoint/model_folder.h"
#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"
#include "mpeft/model/precision.h"
#include "mpeft/peft/adapter.h"
#include "mpeft/train/device.h"

namespace mpeft::app {

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
  if (!options.tokenizer.empty()) return text::make_tokenizer(options.tokenizer);
  if (!options.model.ends_with(".yaml")) {
    const auto folder = checkpoint::find_model_folder(options.model).path;
    if (std::filesystem::exists(folder / "tokenizer.json")) return text::make_tokenizer(folder.string());
  }
  throw ConfigError(mpeft::str("--tokenizer: ", options.model, " has no tokenizer.json beside it: name one"));
}

}  // namespace mpeft::app
