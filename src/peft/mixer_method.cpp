#include "peft/mixer_method.h"

#include <algorithm>

#include <ATen/CPUGeneratorImpl.h>

#include "mpeft/core/error.h"
#include "mpeft/core/random.h"
#include "mpeft/core/strings.h"

#include "peft/suggest.h"

namespace mpeft::peft {
namespace {

using nlohmann::json;

std::string lower_case(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

}  // namespace

MixerMethod::MixerMethod(std::string type, json fields, std::string where)
    : type_(std::move(type)), child_(lower_case(type_)), fields_(std::move(fields)), where_(std::move(where)) {}

void MixerMethod::inject(model::MambaLM& model, uint64_t seed) {
  const torch::NoGradGuard no_grad;
  for (size_t i = 0; i < model->backbone->layers.size(); ++i) {
    auto& mixer = *model->backbone->layers[i]->mixer;
    const std::string path = mpeft::str("backbone.layers.", i, ".mixer.", child_);
    auto generator = at::detail::createCPUGenerator(derive_seed(seed, path));
    const auto module = make_module(mixer, model->config(), generator);
    mixer.attach(child_, module, module);
    for (auto& item : module->named_parameters()) {
      item.value().set_requires_grad(true);
      NamedParameter parameter{"base_model.model." + path + "." + item.key(), item.value(), path};
      parameter.weight_decay = module->decays(item.key());
      parameters_.push_back(std::move(parameter));
    }
  }
  thaw(model);
}

void MixerMethod::thaw(model::MambaLM& model) {
  std::vector<std::string> problems;
  for (const auto& name : finetune_parameters_) {
    bool matched = false;
    std::vector<std::string> endings;
    for (auto& item : model->named_parameters()) {
      const std::string& key = item.key();
      const size_t last = key.rfind('.');
      endings.push_back(key.substr(last + 1));                      // "A_log"
      endings.push_back(key.substr(key.rfind('.', last - 1) + 1));  // "dt_proj.bias"
      if (!key.ends_with("." + name) || item.value().requires_grad()) continue;
      matched = true;
      item.value().set_requires_grad(true);
      const bool is_weight = key.ends_with(".weight");
      parameters_.push_back({"base_model.model." + key, item.value(), is_weight ? key.substr(0, key.size() - 7) : key});
    }
    if (!matched) {
      problems.push_back(mpeft::str(where_, ": finetune_parameters: '", name, "' ends the name of no frozen parameter",
                                    suggest(name, endings)));
    }
  }
  if (!problems.empty()) throw ConfigError(join(problems, "\n"));
}

std::string MixerMethod::config_json(const std::string& base_model) const {
  return adapter_config_json(type_, base_model, fields_);
}

void MixerMethod::merge(model::MambaLM& model) { throw ConfigError(where_ + ": " + merge_obstacle(model)); }

std::string adapter_config_json(const std::string& type, const std::string& base_model, json fields) {
  fields["peft_type"] = type;
  fields["task_type"] = "CAUSAL_LM";
  fields["base_model_name_or_path"] = base_model;
  fields["inference_mode"] = true;
  return fields.dump(2) + "\n";
}

void skip_provenance(MethodConfig& config) {
  for (const char* key : {"base_model_name_or_path", "revision", "auto_mapping", "peft_version"}) config.raw(key);
}

const std::vector<std::pair<std::string, json>>& neutral_provenance() {
  static const std::vector<std::pair<std::string, json>> fields = {
      {"task_type", "CAUSAL_LM"}, {"task_type", "SEQ_CLS"}, {"inference_mode", true}, {"inference_mode", false}};
  return fields;
}

}  // namespace mpeft::peft
