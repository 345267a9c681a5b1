#include <algorithm>
#include <map>
#include <set>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

#include "peft/base_parameters.h"
#include "peft/method_config.h"
#include "peft/suggest.h"

namespace mpeft::peft {
namespace {

using nlohmann::json;

// Trains chosen parameters of the base in place and freezes the others. A name matches whole components of a path.
class LayerFreeze : public PeftMethod {
 public:
  LayerFreeze(std::vector<std::string> names, std::string where) : names_(std::move(names)), where_(std::move(where)) {}

  std::string type() const override { return "LAYER_FREEZE"; }
  std::vector<NamedParameter> parameters() const override { return parameters_; }
  std::string merge_obstacle(const model::MambaLM& /*model*/) const override { return ""; }

  void inject(model::MambaLM& model, uint64_t /*seed*/) override {
    for (const auto& chosen : select(model)) parameters_.push_back(thaw(chosen));
  }

  std::string config_json(const std::string& base_model) const override {
    const json object = {
        {"peft_type", "LAYER_FREEZE"}, {"base_model_name_or_path", base_model}, {"trainable_layers", names_}};
    return object.dump(2) + "\n";
  }

  void merge(model::MambaLM& model) override {
    merge_rows(model);  // all else has trained where it is
    for (auto& parameter : parameters_) parameter.tensor.set_requires_grad(false);
    parameters_.clear();
  }

 private:
  std::vector<BaseParameter> select(model::MambaLM& model) const {
    const auto all = list_base_parameters(model);
    std::vector<bool> chosen(all.size(), false);
    std::vector<std::string> problems;
    for (const auto& name : names_) {
      bool matched = false;
      for (size_t i = 0; i < all.size(); ++i) {
        if (!has_components(all[i].path, name == "embedding" ? "embeddings" : name)) continue;
        chosen[i] = true;
        matched = true;
      }
      if (!matched) problems.push_back(no_match(name, all, model->config().tie_embeddings));
    }
    if (!problems.empty()) throw ConfigError(join(problems, "\n"));

    // A weight that is chosen, or all of whose slices are, trains whole: its rows are not taken apart.
    std::map<const void*, size_t> n_slices, n_chosen;
    std::set<const void*> whole;
    for (size_t i = 0; i < all.size(); ++i) {
      const void* weight = all[i].tensor.unsafeGetTensorImpl();
      if (all[i].slice.empty()) {
        if (chosen[i]) whole.insert(weight);
      } else {
        ++n_slices[weight];
        n_chosen[weight] += chosen[i] ? 1 : 0;
      }
    }
    std::vector<BaseParameter> selected;
    for (size_t i = 0; i < all.size(); ++i) {
      const void* weight = all[i].tensor.unsafeGetTensorImpl();
      const bool is_whole = whole.contains(weight) || (n_slices[weight] > 0 && n_chosen[weight] == n_slices[weight]);
      if (all[i].slice.empty() ? is_whole : chosen[i] && !is_whole) selected.push_back(all[i]);
    }
    return selected;
  }

  std::string no_match(const std::string& name, const std::vector<BaseParameter>& all, bool is_tied) const {
    if (is_tied && (name == "lm_head" || name == "lm_head.weight")) {
      return mpeft::str(where_, ": trainable_layers: '", name,
                        "' is tied to the embedding in this model: name 'embeddings'");
    }
    std::vector<std::string> candidates;  // what a name can be: the last components, or the one before the last
    for (const auto& parameter : all) {
      const auto last = parameter.path.rfind('.');
      const auto before = parameter.path.rfind('.', last - 1);
      candidates.push_back(parameter.path.substr(before + 1, last - before - 1));
    }
    std::vector<std::string> paths;
    for (const auto& parameter : all) paths.push_back(parameter.path);
    const auto ends = ends_like(name, paths);
    candidates.insert(candidates.begin(), ends.begin(), ends.end());
    return mpeft::str(where_, ": trainable_layers: '", name, "' matches no parameter", suggest(name, candidates));
  }

  std::vector<std::string> names_;
  std::string where_;
  std::vector<NamedParameter> parameters_;
};

}  // namespace

std::vector<std::string> make_layer_freeze_examples() {
  return {R"({"peft_type": "LAYER_FREEZE", "trainable_layers": ["A_log", "x_proj_B", "in_proj_z", "norm.weight"]})",
          R"({"peft_type": "LAYER_FREEZE", "trainable_layers": ["x_proj_dt", "x_proj_C", "dt_proj", "embedding"]})"};
}

std::unique_ptr<PeftMethod> make_layer_freeze(MethodConfig& config) {
  auto names = config.texts("trainable_layers");
  if (names.empty()) config.problem("trainable_layers", "missing: a list of names, as [\"A_log\", \"x_proj_B\"]");
  config.finish();
  return std::make_unique<LayerFreeze>(std::move(names), config.where());
}

}  // namespace mpeft::peft
