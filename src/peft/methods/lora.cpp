#include <algorithm>
#include <cmath>

#include <ATen/CPUGeneratorImpl.h>

#include "mpeft/core/error.h"
#include "mpeft/core/random.h"
#include "mpeft/core/strings.h"
#include "mpeft/peft/target.h"

#include "peft/lora_modules.h"
#include "peft/method_config.h"

namespace mpeft::peft {
namespace {

using nlohmann::json;

// The fields of Hugging Face PEFT's LoraConfig that this version honours.
struct LoraConfig {
  int64_t r = 8;
  double lora_alpha = 8;
  double lora_dropout = 0.0;
  bool use_rslora = false;
  std::string init = "true";  // true, gaussian, false
  std::string bias = "none";  // none, all, lora_only
  std::vector<std::string> modules_to_save;
  std::vector<std::pair<std::string, int64_t>> rank_pattern;
  std::vector<std::pair<std::string, double>> alpha_pattern;
  TargetSelection targets;
  json target_modules, exclude_modules;  // as written, for config_json
};

// PEFT writes these into every adapter_config.json; at these values they change nothing here.
const std::vector<std::pair<std::string, json>>& neutral_fields() {
  static const std::vector<std::pair<std::string, json>> fields = {
      {"task_type", "CAUSAL_LM"},
      {"task_type", "SEQ_CLS"},
      {"inference_mode", true},
      {"inference_mode", false},
      {"fan_in_fan_out", false},
      {"use_dora", false},
      {"layer_replication", nullptr},
      {"megatron_config", nullptr},
      {"megatron_core", "megatron.core"},
      {"loftq_config", json::object()},
      {"eva_config", nullptr},
      {"corda_config", nullptr},
      {"lora_bias", false},
      {"trainable_token_indices", nullptr},
      {"qalora_group_size", 16},
      {"use_qalora", false},
      {"target_parameters", nullptr},
      {"layers_pattern", nullptr},
      {"layers_pattern", "layers"},
      {"runtime_config", json::object()},
      {"runtime_config", {{"ephemeral_gpu_offload", false}}},
      {"arrow_config", nullptr},
      {"ensure_weight_tying", false},
      {"alora_invocation_tokens", nullptr},
      {"lora_ga_config", nullptr},
      {"use_bdlora", nullptr},
      {"monteclora_config", nullptr},
      {"velora_config", nullptr}};
  return fields;
}

template <typename Value>
std::vector<std::pair<std::string, Value>> read_pattern(MethodConfig& config, const std::string& key, double low,
                                                        double high) {
  std::vector<std::pair<std::string, Value>> result;
  const json value = config.raw(key);
  if (value.is_null()) return result;
  if (!value.is_object()) {
    config.problem(key, "expected an object of name pattern to number, got " + value.dump());
    return result;
  }
  for (const auto& item : value.items()) {
    const std::string& pattern = item.key();
    const json& number = item.value();
    if (!number.is_number() || !(number.get<double>() >= low && number.get<double>() <= high) ||
        (std::is_integral_v<Value> && !number.is_number_integer())) {
      config.problem(key + "." + pattern,
                     mpeft::str("expected a number in [", low, ", ", high, "], got ", number.dump()));
      continue;
    }
    result.emplace_back(pattern, number.get<Value>());
  }
  return result;
}

LoraConfig read_config(MethodConfig& config) {
  LoraConfig lora;
  lora.r = config.integer("r", 8, 1, 65536);
  lora.lora_alpha = config.number("lora_alpha", 8, -1e6, 1e6);
  lora.lora_dropout = config.number("lora_dropout", 0.0, 0.0, 0.999);
  lora.use_rslora = config.boolean("use_rslora", false);
  lora.rank_pattern = read_pattern<int64_t>(config, "rank_pattern", 1, 65536);
  lora.alpha_pattern = read_pattern<double>(config, "alpha_pattern", -1e6, 1e6);
  lora.modules_to_save = config.texts("modules_to_save");
  lora.bias = config.text("bias", "none");
  if (lora.bias != "none" && lora.bias != "all" && lora.bias != "lora_only") {
    config.problem("bias", mpeft::str("expected none, all or lora_only, got '", lora.bias, "'"));
  }
  const json init = config.raw("init_lora_weights");
  if (init.is_boolean()) {
    lora.init = init.get<bool>() ? "true" : "false";
  } else if (init == "gaussian") {
    lora.init = "gaussian";
  } else if (!init.is_null()) {
    config.problem("init_lora_weights", "expected true, false or \"gaussian\", got " + init.dump());
  }

  lora.target_modules = config.raw("target_modules");
  if (lora.target_modules.is_string()) {
    lora.targets.regex = lora.target_modules.get<std::string>();
  } else {
    lora.targets.names = config.texts("target_modules");
    if (lora.targets.names.empty())
      config.problem("target_modules", "missing: a list of names, a regular expression or \"all-linear\"");
  }
  lora.exclude_modules = config.raw("exclude_modules");
  if (lora.exclude_modules.is_string()) {
    lora.targets.exclude_regex = lora.exclude_modules.get<std::string>();
  } else {
    lora.targets.exclude_names = config.texts("exclude_modules");
  }
  const json layers = config.raw("layers_to_transform");
  if (layers.is_number_integer()) {
    lora.targets.layers = {layers.get<int64_t>()};
  } else if (layers.is_array() &&
             std::all_of(layers.begin(), layers.end(), [](const json& v) { return v.is_number_integer(); })) {
    lora.targets.layers = layers.get<std::vector<int64_t>>();
  } else if (!layers.is_null()) {
    config.problem("layers_to_transform", "expected an integer or a list of integers, got " + layers.dump());
  }

  // Who wrote the file and for which model: kept by PEFT for people, of no effect.
  for (const char* key : {"base_model_name_or_path", "revision", "auto_mapping", "peft_version"}) config.raw(key);
  config.finish(neutral_fields());
  return lora;
}

// PEFT's rule (`get_pattern_key`): the pattern matches the end of the path at a component's boundary.
template <typename Value>
Value pattern_value(const std::vector<std::pair<std::string, Value>>& patterns, const std::string& path, Value fallback,
                    const std::string& where) {
  for (const auto& [pattern, value] : patterns) {
    if (full_match("(.*\\.)?(" + pattern + ")", path, where)) return value;
  }
  return fallback;
}

class Lora : public PeftMethod {
 public:
  Lora(LoraConfig config, std::string where) : config_(std::move(config)), where_(std::move(where)) {}

  std::string type() const override { return "LORA"; }
  std::vector<NamedParameter> parameters() const override { return parameters_; }

  void inject(model::MambaLM& model, uint64_t seed) override {
    const auto targets = select_targets(model, config_.targets, where_);
    for (const auto& target : targets) add_adapter(target, seed);
    thaw_biases(model, targets);
    thaw_saved_modules(model);
  }

  std::string config_json(const std::string& base_model) const override {
    json rank_pattern = json::object(), alpha_pattern = json::object();
    for (const auto& [key, value] : config_.rank_pattern) rank_pattern[key] = value;
    for (const auto& [key, value] : config_.alpha_pattern) alpha_pattern[key] = value;
    json target_modules = config_.target_modules;
    if (target_modules.is_array()) {
      for (auto& name : target_modules) {
        if (name == "embedding") name = "embeddings";  // transformers' name, which PEFT looks for
      }
    }
    const json object = {
        {"peft_type", "LORA"},
        {"task_type", "CAUSAL_LM"},
        {"base_model_name_or_path", base_model},
        {"inference_mode", true},
        {"r", config_.r},
        {"lora_alpha", config_.lora_alpha},
        {"lora_dropout", config_.lora_dropout},
        {"use_rslora", config_.use_rslora},
        {"rank_pattern", rank_pattern},
        {"alpha_pattern", alpha_pattern},
        {"target_modules", target_modules},
        {"exclude_modules", config_.exclude_modules},
        {"layers_to_transform", config_.targets.layers.empty() ? json() : json(config_.targets.layers)},
        {"modules_to_save", config_.modules_to_save.empty() ? json() : json(config_.modules_to_save)},
        {"bias", config_.bias},
        {"init_lora_weights", config_.init == "gaussian" ? json("gaussian") : json(config_.init == "true")},
        {"fan_in_fan_out", false}};
    return object.dump(2) + "\n";
  }

  bool is_identity_at_start() const override { return config_.init != "false"; }

  std::string merge_obstacle(const model::MambaLM& model) const override {
    for (const auto& parameter : parameters_) {
      const bool on_tied = parameter.name.find(".embeddings.lora_") != std::string::npos ||
                           parameter.name.find(".lm_head.lora_") != std::string::npos;
      if (on_tied && model->config().tie_embeddings) {
        return "embedding and lm_head share one weight in this model, so an adapter on one of them cannot be merged";
      }
    }
    return "";
  }

  void merge(model::MambaLM& model) override {
    if (const auto obstacle = merge_obstacle(model); !obstacle.empty()) throw ConfigError(where_ + ": " + obstacle);
    for (auto& target : list_targets(model)) {
      if (target.embedding) {
        target.embedding->merge_adapters();
      } else if (!target.is_slice) {
        target.projection->merge_adapters();
      }
    }
    parameters_.clear();
  }

 private:
  void add_adapter(const Target& target, uint64_t seed) {
    LoraShape shape;
    shape.in_features = target.in_features;
    shape.out_features = target.out_features;
    shape.rank = pattern_value(config_.rank_pattern, target.path, config_.r, where_);
    const double alpha = pattern_value(config_.alpha_pattern, target.path, config_.lora_alpha, where_);
    const auto rank = static_cast<double>(shape.rank);
    shape.scale = config_.use_rslora ? alpha / std::sqrt(rank) : alpha / rank;
    shape.dropout = config_.lora_dropout;

    const torch::NoGradGuard no_grad;
    auto generator = at::detail::createCPUGenerator(derive_seed(seed, "lora:" + target.path));
    const std::string saved = "base_model.model." + target.path;
    if (target.embedding) {
      auto module = std::make_shared<LoraEmbedding>(shape);
      if (config_.init != "false") {
        module->lora_embedding_B.normal_(0, 1, generator);
      } else {
        module->lora_embedding_A.normal_(0, 1, generator);
        module->lora_embedding_B.normal_(0, 1, generator);
      }
      parameters_.push_back({saved + ".lora_embedding_A", module->lora_embedding_A, target.path});
      parameters_.push_back({saved + ".lora_embedding_B", module->lora_embedding_B, target.path});
      model::Embedding(target.embedding)->attach(module, module);
      return;
    }
    shape.row_begin = target.is_slice ? target.projection->rows(target.name).begin : 0;
    auto module = std::make_shared<LoraProjection>(shape, target.projection->options().out_features);
    if (config_.init == "gaussian") {
      module->lora_A.normal_(0, 1 / rank, generator);
    } else {  // kaiming_uniform(a = sqrt(5))
      const double bound = 1.0 / std::sqrt(static_cast<double>(shape.in_features));
      module->lora_A.uniform_(-bound, bound, generator);
      if (config_.init == "false") {
        const double bound_B = 1.0 / std::sqrt(rank);
        module->lora_B.uniform_(-bound_B, bound_B, generator);
      }
    }
    parameters_.push_back({saved + ".lora_A.weight", module->lora_A, target.path});
    parameters_.push_back({saved + ".lora_B.weight", module->lora_B, target.path});
    model::Projection(target.projection)->attach(target.name, module, module);
  }

  // Biases train in place. PEFT wraps targeted modules, which moves their bias one level down.
  void thaw_biases(model::MambaLM& model, const std::vector<Target>& targets) {
    if (config_.bias == "none") return;
    const auto is_target = [&](const model::Projection& p) {
      return std::any_of(targets.begin(), targets.end(),
                         [&](const Target& t) { return !t.embedding && t.projection.ptr() == p.ptr(); });
    };
    const auto thaw = [&](const std::string& path, const model::Projection& projection) {
      if (!projection->bias.defined()) return;
      const bool targeted = is_target(projection);
      if (config_.bias == "lora_only" && !targeted) return;
      at::Tensor bias = projection->bias;
      bias.set_requires_grad(true);
      parameters_.push_back(
          {"base_model.model." + path + (targeted ? ".base_layer.bias" : ".bias"), bias, path + ".bias"});
    };
    for (size_t i = 0; i < model->backbone->layers.size(); ++i) {
      auto& mixer = *model->backbone->layers[i]->mixer;
      const std::string parent = mpeft::str("backbone.layers.", i, ".mixer.");
      thaw(parent + "in_proj", mixer.in_proj);
      thaw(parent + "dt_proj", mixer.dt_proj);
      thaw(parent + "out_proj", mixer.out_proj);
      if (config_.bias == "all" && mixer.conv1d->bias.defined()) {
        mixer.conv1d->bias.set_requires_grad(true);
        parameters_.push_back(
            {"base_model.model." + parent + "conv1d.bias", mixer.conv1d->bias, parent + "conv1d.bias"});
      }
    }
  }

  void thaw_saved_modules(model::MambaLM& model) {
    for (const auto& name : config_.modules_to_save) {
      bool matched = false;
      for (auto& item : model->named_parameters()) {
        const std::string module_path = item.key().substr(0, item.key().rfind('.'));
        if (module_path != name && !module_path.ends_with("." + name)) continue;
        matched = true;
        item.value().set_requires_grad(true);
        parameters_.push_back({"base_model.model." + item.key(), item.value(),
                               item.key().ends_with(".weight") ? module_path : item.key()});
      }
      if (!matched) {
        const bool tied = name == "lm_head" && model->config().tie_embeddings;
        throw ConfigError(mpeft::str(
            where_, ": modules_to_save: '", name, "' ",
            tied ? "is tied to the embedding in this model: name 'embeddings'" : "matches no module with parameters"));
      }
    }
  }

  LoraConfig config_;
  std::string where_;
  std::vector<NamedParameter> parameters_;
};

}  // namespace

std::vector<std::string> make_lora_examples() {
  return {R"({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "lora_dropout": 0.1, "bias": "all",
              "target_modules": ["in_proj_x", "x_proj_B", "x_proj_dt", "dt_proj", "out_proj", "embeddings"]})",
          R"({"peft_type": "LORA", "r": 3, "lora_alpha": 3, "use_rslora": true, "init_lora_weights": false,
              "target_modules": "all-linear", "modules_to_save": ["norm_f"]})"};
}

std::unique_ptr<PeftMethod> make_lora(MethodConfig& config) {
  auto lora = read_config(config);
  return std::make_unique<Lora>(std::move(lora), config.where());
}

}  // namespace mpeft::peft
