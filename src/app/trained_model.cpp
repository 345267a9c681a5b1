#include "app/trained_model.h"

#include "mpeft/checkpoint/adapter_folder.h"
#include "mpeft/core/fs.h"

namespace mpeft::app {

namespace sfs = std::filesystem;

std::vector<optim::TrainedParameter> TrainedModel::parameters() {
  std::vector<optim::TrainedParameter> parameters;
  for (const auto& parameter : peft::trained_parameters(model, method.get()))
    parameters.push_back({parameter.name, parameter.tensor, parameter.lr_scale, parameter.weight_decay});
  return parameters;
}

std::unique_ptr<peft::PeftMethod> make_method(const config::ExperimentConfig& config) {
  if (config.peft.empty()) return nullptr;
  return peft::make_peft_method_from_files({config.peft.begin(), config.peft.end()});
}

std::unique_ptr<peft::PeftMethod> make_saved_method(const sfs::path& checkpoint) {
  const auto file = checkpoint / "adapter" / "adapter_config.json";
  return peft::make_peft_method_from_files({file});
}

std::string method_fingerprint(const peft::PeftMethod* method) {
  return method ? method->type() + " " + fs::sha256(method->config_json("")).substr(0, 16) : "";
}

TrainedModel make_trained_model(const config::ExperimentConfig& config, std::unique_ptr<peft::PeftMethod> method,
                                bool dry_run) {
  TrainedModel trained;
  auto loaded = model::make_model(config.model, config.seed, /*with_random_values=*/!dry_run);
  trained.model = loaded.model;
  trained.source = loaded.source;
  trained.has_values = !dry_run || !trained.source.weight_files.empty();
  trained.method = std::move(method);
  if (trained.method && trained.has_values) {
    trained.method->inject(trained.model, config.seed);
  } else if (trained.method) {
    trained.method->inject_shapes(trained.model);
  } else {
    for (auto& parameter : trained.model->parameters()) parameter.set_requires_grad(true);
  }
  return trained;
}

void save_weights(TrainedModel& trained, const config::ExperimentConfig& config, const std::string& tokenizer_path,
                  const sfs::path& folder) {
  if (trained.method) {
    peft::save_adapter(*trained.method, config.model, folder / "adapter");
    return;
  }
  model::save_model(trained.model, folder / "model");
  const sfs::path tokenizer =
      sfs::is_directory(tokenizer_path) ? sfs::path(tokenizer_path) / "tokenizer.json" : sfs::path(tokenizer_path);
  if (tokenizer.extension() == ".json" && sfs::exists(tokenizer)) {
    fs::write_file_atomic(folder / "model" / "tokenizer.json", fs::read_file(tokenizer));
  }
}

void load_weights(TrainedModel& trained, const sfs::path& folder) {
  if (!trained.method) return model::copy_weights(trained.model, folder / "model");
  const auto adapter = checkpoint::read_adapter_folder(folder / "adapter");
  peft::load_parameters(*trained.method, adapter.tensors, (folder / "adapter").string());
}

}  // namespace mpeft::app
