#pragma once

#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include <torch/nn/module.h>

#include "mpeft/model/scan_adapter.h"
#include "mpeft/peft/peft_method.h"

#include "peft/method_config.h"

namespace mpeft::peft {

/// What a method puts on one mixer: parameters, under their saved names, and what they do in the scan.
class MixerModule : public torch::nn::Module, public model::ScanAdapter {
 public:
  /// False for a parameter (its name in this module) that is never decayed.
  virtual bool decays(const std::string& /*name*/) const { return true; }
};

/// What the methods that put one MixerModule on every mixer share.
class MixerMethod : public PeftMethod {
 public:
  std::string type() const override { return type_; }
  void inject(model::MambaLM& model, uint64_t seed) override;
  std::vector<NamedParameter> parameters() const override { return parameters_; }
  std::string config_json(const std::string& base_model) const override;
  std::string merge_obstacle(const model::MambaLM& model) const override = 0;
  void merge(model::MambaLM& model) override;

 protected:
  /// `fields`: the configuration with every field's effective value. The module becomes the mixers' child with the
  /// method's name in lower case.
  MixerMethod(std::string type, nlohmann::json fields, std::string where);

  /// The module of one layer, initialised from `generator`; its parameters train.
  virtual std::shared_ptr<MixerModule> make_module(model::MambaMixerImpl& mixer, const model::MambaConfig& config,
                                                   at::Generator& generator) const = 0;

  /// Base parameters that train beside the modules (the reference's `finetune_parameters`): dotted suffixes of names.
  std::vector<std::string> finetune_parameters_;

  const std::string& where() const { return where_; }

 private:
  void thaw(model::MambaLM& model);

  std::string type_, child_;
  nlohmann::json fields_;
  std::string where_;
  std::vector<NamedParameter> parameters_;
};

/// "adapter_config.json" of a method of ours: `fields` and what every adapter says about itself.
std::string adapter_config_json(const std::string& type, const std::string& base_model, nlohmann::json fields);

/// Fields that say who wrote a configuration and for what; read and of no effect.
void skip_provenance(MethodConfig& config);

/// The neutral values of the fields that skip_provenance leaves: for MethodConfig::finish.
const std::vector<std::pair<std::string, nlohmann::json>>& neutral_provenance();

}  // namespace mpeft::peft
