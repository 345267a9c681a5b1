#include <algorithm>
#include <set>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

#include "peft/base_parameters.h"
#include "peft/method_config.h"

namespace mpeft::peft {
namespace {

using nlohmann::json;

// Trains the biases of the named modules and nothing else (Ben Zaken et al. 2022), in place.
class BitFit : public PeftMethod {
 public:
  BitFit(std::vector<std::string> targets, std::string where)
      : targets_(std::move(targets)), where_(std::move(where)) {}

  std::string type() const override { return "BITFIT"; }
  std::vector<NamedParameter> parameters() const override { return parameters_; }
  std::string merge_obstacle(const model::MambaLM& /*model*/) const override { return ""; }

  void inject(model::MambaLM& model, uint64_t /*seed*/) override {
    std::vector<BaseParameter> biases;
    std::set<std::string> modules;  // that have one
    for (auto& parameter : list_base_parameters(model)) {
      if (!parameter.path.ends_with(".bias")) continue;
      const std::string module = parameter.path.substr(0, parameter.path.rfind('.'));
      modules.insert(module.substr(module.rfind('.') + 1));
      biases.push_back(std::move(parameter));
    }
    std::vector<std::string> problems;
    std::vector<bool> chosen(biases.size(), false);
    for (const auto& name : targets_) {
      bool matched = false;
      for (size_t i = 0; i < biases.size(); ++i) {
        if (!has_components(biases[i].path, name)) continue;
        chosen[i] = true;
        matched = true;
      }
      if (!matched) {
        problems.push_back(mpeft::str(where_, ": target_modules: '", name, "' matches no module with a bias",
                                      did_you_mean(name, {modules.begin(), modules.end()}),
                                      "; those of this model: ", join({modules.begin(), modules.end()}, ", ")));
      }
    }
    if (!problems.empty()) throw ConfigError(join(problems, "\n"));
    for (size_t i = 0; i < biases.size(); ++i) {
      if (chosen[i]) parameters_.push_back(thaw(biases[i]));
    }
  }

  std::string config_json(const std::string& base_model) const override {
    const json object = {
        {"peft_type", "BITFIT"}, {"base_model_name_or_path", base_model}, {"target_modules", targets_}};
    return object.dump(2) + "\n";
  }

  void merge(model::MambaLM& /*model*/) override {
    for (auto& parameter : parameters_) parameter.tensor.set_requires_grad(false);
    parameters_.clear();
  }

 private:
  std::vector<std::string> targets_;
  std::string where_;
  std::vector<NamedParameter> parameters_;
};

}  // namespace

std::vector<std::string> make_bitfit_examples() {
  return {R"({"peft_type": "BITFIT"})", R"({"peft_type": "BITFIT", "target_modules": ["dt_proj"]})"};
}

std::unique_ptr<PeftMethod> make_bitfit(MethodConfig& config) {
  auto targets = config.texts("target_modules");
  if (targets.empty()) targets = {"conv1d", "dt_proj"};
  config.finish();
  return std::make_unique<BitFit>(std::move(targets), config.where());
}

}  // namespace mpeft::peft
