#include <algorithm>
#include <map>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"
#include "mpeft/peft/staged_method.h"
#include "mpeft/peft/target.h"

#include "peft/base_parameters.h"
#include "peft/lora_export.h"
#include "peft/method_config.h"

namespace mpeft::peft {
namespace {

using nlohmann::json;

// One method of the composite, as it was configured.
struct Part {
  json config;
  std::string where;  // starts its messages
  std::unique_ptr<PeftMethod> method;
};

// Methods of different parts may not change the same thing: the second would train on top of the first in one order
// and below it in the other, and neither could be merged alone.
class Sites {
 public:
  explicit Sites(model::MambaLM& model) {
    std::string whole;
    for (const auto& target : list_targets(model)) {
      if (!target.is_slice)
        whole = target.path;
      else
        whole_of_[target.path] = whole;
    }
  }

  void add(const Part& part, const std::string& site) {
    const auto it = whole_of_.find(site);
    if (const Part* other = taken_by(site, part)) reject(part, site, *other, site);
    if (it != whole_of_.end()) {
      if (const Part* other = taken_by(it->second, part)) reject(part, site, *other, it->second);
    }
    for (const auto& [slice, whole] : whole_of_) {
      if (whole != site) continue;
      if (const Part* other = taken_by(slice, part)) reject(part, site, *other, slice);
    }
    owner_.emplace(site, &part);
  }

 private:
  const Part* taken_by(const std::string& site, const Part& part) const {
    const auto it = owner_.find(site);
    return it == owner_.end() || it->second == &part ? nullptr : it->second;
  }

  [[noreturn]] static void reject(const Part& part, const std::string& site, const Part& other,
                                  const std::string& other_site) {
    throw ConfigError(mpeft::str(part.where, ": ", part.method->type(), " changes ", site, ", but ", other.where, " (",
                                 other.method->type(), ") changes ",
                                 site == other_site ? "it too" : other_site + ", of which it is a part or the whole",
                                 ": adapters that are applied together must not overlap"));
  }

  std::map<std::string, std::string> whole_of_;  // slice path -> path of its projection
  std::map<std::string, const Part*> owner_;
};

class Composite : public PeftMethod, public StagedMethod {
 public:
  explicit Composite(std::vector<Part> parts) : parts_(std::move(parts)) {}

  std::string type() const override { return "COMPOSITE"; }

  void inject(model::MambaLM& model, uint64_t seed) override {
    reject_overlaps(model->config());
    for (auto& part : parts_) part.method->inject(model, seed);
  }

  void inject_shapes(model::MambaLM& model) override {
    reject_overlaps(model->config());
    for (auto& part : parts_) part.method->inject_shapes(model);
  }

  bool is_identity_at_start() const override {
    return std::all_of(parts_.begin(), parts_.end(), [](const Part& p) { return p.method->is_identity_at_start(); });
  }

  // That of the one part that has several.
  MethodStage stage() const override {
    const Part* part = staged_part();
    return part == nullptr ? MethodStage() : stage_of(*part->method);
  }

  // The other parts start anew with it.
  std::string next_stage_json() const override {
    json adapters = json::array();
    for (const auto& part : parts_) {
      adapters.push_back(&part == staged_part() ? json::parse(peft::next_stage_json(*part.method)) : part.config);
    }
    return json({{"peft_type", "COMPOSITE"}, {"adapters", adapters}}).dump();
  }

  std::vector<NamedParameter> parameters() const override {
    std::vector<NamedParameter> all;
    for (const auto& part : parts_) {
      const auto own = part.method->parameters();
      all.insert(all.end(), own.begin(), own.end());
    }
    return all;
  }

  std::string config_json(const std::string& base_model) const override {
    json adapters = json::array();
    for (const auto& part : parts_) adapters.push_back(json::parse(part.method->config_json(base_model)));
    const json object = {{"peft_type", "COMPOSITE"}, {"base_model_name_or_path", base_model}, {"adapters", adapters}};
    return object.dump(2) + "\n";
  }

  std::string merge_obstacle(const model::MambaLM& model) const override {
    for (const auto& part : parts_) {
      if (const auto obstacle = part.method->merge_obstacle(model); !obstacle.empty())
        return part.method->type() + ": " + obstacle;
    }
    return "";
  }

  void merge(model::MambaLM& model) override {
    if (const auto obstacle = merge_obstacle(model); !obstacle.empty()) throw ConfigError(obstacle);
    merge_rows(model);  // a method may change the rows of a projection, which must be whole by then
    for (const bool changes_sizes : {false, true}) {
      for (auto& part : parts_) {
        if (part.method->merge_changes_sizes() == changes_sizes) part.method->merge(model);
      }
    }
  }

  // Several LORAs are one adapter of PEFT's where its one configuration can say what each of them is.
  std::optional<checkpoint::AdapterFolder> to_peft(model::MambaLM& model,
                                                   const std::string& base_model) const override {
    std::vector<LoraParts> all;
    for (const auto& part : parts_) {
      const auto* lora = dynamic_cast<const LoraPartsOwner*>(part.method.get());
      if (lora == nullptr) return std::nullopt;
      all.push_back(lora->lora_parts());
    }
    const auto joined = join_lora(std::move(all));
    if (!joined) return std::nullopt;
    return export_lora(*joined, base_model, model->config().n_layer);
  }

  // The states of the whole model are those of all parts together.
  bool amounts_to_start_states() const override {
    return std::all_of(parts_.begin(), parts_.end(), [](const Part& p) { return p.method->amounts_to_start_states(); });
  }

 private:
  const Part* staged_part() const {
    const auto it =
        std::find_if(parts_.begin(), parts_.end(), [](const Part& p) { return stage_of(*p.method).count > 1; });
    return it == parts_.end() ? nullptr : &*it;
  }

  // On a model of its own, which has the sizes alone, before the real one is touched.
  void reject_overlaps(const model::MambaConfig& config) const {
    model::MambaLM sizes(config);
    Sites sites(sizes);
    for (const auto& part : parts_) {
      model::MambaLM scratch(config);
      const auto method = make_parsed_method(part.config, part.where);
      method->inject_shapes(scratch);
      for (const auto& parameter : method->parameters()) sites.add(part, parameter.site);
    }
  }

  std::vector<Part> parts_;
};

}  // namespace

std::vector<std::string> make_composite_examples() {
  return {R"({"peft_type": "COMPOSITE", "adapters": [
                {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["in_proj_x", "out_proj"]},
                {"peft_type": "LORA", "r": 5, "lora_alpha": 5, "target_modules": ["in_proj_z", "x_proj_C"]}]})",
          R"({"peft_type": "COMPOSITE", "adapters": [
                {"peft_type": "ADDITIONAL_SCAN", "scan_addition_num": 2},
                {"peft_type": "SD_LORA", "num_freeze": {"state": 0.75, "channel": 0.9}, "proj_lora_r": 2,
                 "target_modules": ["A_log", "x_proj_B", "x_proj_C", "out_proj"]},
                {"peft_type": "BITFIT"}]})",
          R"({"peft_type": "COMPOSITE", "adapters": [
                {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 3},
                {"peft_type": "AFFIX_TUNING"},
                {"peft_type": "SSMPEFT", "scan": {"type": "init_state", "init": "random"}},
                {"peft_type": "STATE_OFFSET_TUNING", "tuning_mode": "STATE_OFFSET_TUNING"},
                {"peft_type": "PARAM_TRANSFORM", "parameters": ["B"], "scale_shape": "dn"},
                {"peft_type": "ADDITIONAL_SCAN", "scan_addition_num": 2},
                {"peft_type": "LAYER_FREEZE", "trainable_layers": ["D", "x_proj_B"]}]})",
          R"({"peft_type": "COMPOSITE", "adapters": [
                {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 2},
                {"peft_type": "AFFIX_TUNING", "num_virtual_tokens": 2}]})"};
}

std::unique_ptr<PeftMethod> compose(std::vector<json> configs, std::vector<std::string> where) {
  std::vector<Part> parts;
  for (size_t i = 0; i < configs.size(); ++i) {
    auto method = make_parsed_method(configs[i], where[i]);
    if (method->type() == "COMPOSITE")
      throw ConfigError(where[i] + ": a composite within a composite: list its adapters");
    parts.push_back({std::move(configs[i]), std::move(where[i]), std::move(method)});
  }
  const Part* staged = nullptr;
  for (const auto& part : parts) {
    if (stage_of(*part.method).count == 1) continue;
    if (staged != nullptr) {
      throw ConfigError(mpeft::str(part.where, ": ", part.method->type(), " trains in stages, and so does ",
                                   staged->where, " (", staged->method->type(), "): apply one of them"));
    }
    staged = &part;
  }
  return std::make_unique<Composite>(std::move(parts));
}

std::unique_ptr<PeftMethod> make_composite(MethodConfig& config) {
  const json adapters = config.raw("adapters");
  if (!adapters.is_array() || adapters.empty())
    config.problem("adapters", "expected a list of adapter configurations, one object each");
  config.finish();
  std::vector<json> configs(adapters.begin(), adapters.end());
  std::vector<std::string> where;
  for (size_t i = 0; i < configs.size(); ++i) where.push_back(mpeft::str(config.where(), ": adapters[", i, "]"));
  return compose(std::move(configs), std::move(where));
}

}  // namespace mpeft::peft
