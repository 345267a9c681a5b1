#include "peft/lora_config.h"

#include <algorithm>
#include <charconv>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

#include "peft/suggest.h"

namespace mpeft::peft {
namespace {

using nlohmann::json;

// PEFT writes these into every adapter_config.json; at these values they change nothing here.
const std::vector<std::pair<std::string, json>>& neutral_lora_fields() {
  static const std::vector<std::pair<std::string, json>> fields = {
      {"task_type", "CAUSAL_LM"},
      {"task_type", "SEQ_CLS"},
      {"fan_in_fan_out", false},
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
    full_match(pattern, "", mpeft::str(config.where(), ": ", key));  // throws what is wrong with the pattern
    result.emplace_back(pattern, number.get<Value>());
  }
  return result;
}

void read_init(MethodConfig& config, LoraConfig& lora) {
  constexpr std::string_view kIterations = "pissa_niter_";
  const json init = config.raw("init_lora_weights");
  if (init.is_null()) return;
  if (init.is_boolean()) {
    lora.init = init.get<bool>() ? LoraConfig::Init::kZero : LoraConfig::Init::kRandom;
    return;
  }
  const std::string text = init.is_string() ? init.get<std::string>() : "";
  if (text == "gaussian") {
    lora.init = LoraConfig::Init::kGaussian;
    return;
  }
  lora.init = LoraConfig::Init::kPissa;
  if (text == "pissa") return;
  if (text.starts_with(kIterations)) {
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data() + kIterations.size(), end, lora.pissa_niter);
    if (error == std::errc() && stop == end && lora.pissa_niter >= 0 && lora.pissa_niter <= 1000) return;
  }
  config.problem("init_lora_weights",
                 "expected true, false, \"gaussian\", \"pissa\" or \"pissa_niter_<iterations>\", got " + init.dump());
}

bool matches_end(const std::string& pattern, const std::string& path, const std::string& where) {
  return full_match("(.*\\.)?(" + pattern + ")", path, where);
}

template <typename Value>
Value pattern_value(const std::vector<std::pair<std::string, Value>>& patterns, const std::string& path, Value fallback,
                    const std::string& where) {
  for (const auto& [pattern, value] : patterns) {
    if (matches_end(pattern, path, where)) return value;
  }
  return fallback;
}

template <typename Value>
void find_idle(const std::vector<std::pair<std::string, Value>>& patterns, const std::vector<std::string>& paths,
               const std::string& where, std::vector<std::string>& problems) {
  for (const auto& [pattern, value] : patterns) {
    const auto acts_on = [&, &text = pattern](const std::string& path) { return matches_end(text, path, where); };
    if (std::any_of(paths.begin(), paths.end(), acts_on)) continue;
    problems.push_back(mpeft::str(where, ": '", pattern, "' matches none of the targets",
                                  suggest(pattern, ends_like(pattern, paths))));
  }
}

json init_json(const LoraConfig& lora) {
  switch (lora.init) {
    case LoraConfig::Init::kGaussian:
      return "gaussian";
    case LoraConfig::Init::kPissa:
      return lora.pissa_niter < 0 ? "pissa" : mpeft::str("pissa_niter_", lora.pissa_niter);
    default:
      return lora.init == LoraConfig::Init::kZero;
  }
}

}  // namespace

LoraConfig LoraConfig::read(MethodConfig& config) {
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
  lora.use_dora = config.boolean("use_dora", false);
  read_init(config, lora);
  // PEFT takes LoRA+'s ratio as an argument of its optimizer, under the second name.
  const char* const ratio = config.has("lora_plus_lr_ratio") ? "lora_plus_lr_ratio" : "loraplus_lr_ratio";
  lora.lr_ratio = config.number(ratio, 1.0, 1e-3, 1e4);

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

  lora.targets.is_saved = config.boolean("inference_mode", false);
  // Who wrote the file and for which model: kept by PEFT for people, of no effect.
  for (const char* key : {"base_model_name_or_path", "revision", "auto_mapping", "peft_version"}) config.raw(key);
  config.finish(neutral_lora_fields());
  return lora;
}

int64_t LoraConfig::rank_of(const std::string& path, const std::string& where) const {
  return pattern_value(rank_pattern, path, r, where + ": rank_pattern");
}

double LoraConfig::alpha_of(const std::string& path, const std::string& where) const {
  return pattern_value(alpha_pattern, path, lora_alpha, where + ": alpha_pattern");
}

void LoraConfig::check_patterns(const std::vector<std::string>& paths, const std::string& where) const {
  if (targets.is_saved) return;  // PEFT lets them pass
  std::vector<std::string> problems;
  find_idle(rank_pattern, paths, where + ": rank_pattern", problems);
  find_idle(alpha_pattern, paths, where + ": alpha_pattern", problems);
  if (!problems.empty()) throw ConfigError(join(problems, "\n"));
}

json LoraConfig::to_json(const std::string& base_model) const {
  json ranks = json::object(), alphas = json::object();
  for (const auto& [key, value] : rank_pattern) ranks[key] = value;
  for (const auto& [key, value] : alpha_pattern) alphas[key] = value;
  json modules = target_modules;
  if (modules.is_array()) {
    for (auto& name : modules) {
      if (name == "embedding") name = "embeddings";  // transformers' name, which PEFT looks for
    }
  }
  json object = {{"peft_type", "LORA"},
                 {"task_type", "CAUSAL_LM"},
                 {"base_model_name_or_path", base_model},
                 {"inference_mode", true},
                 {"r", r},
                 {"lora_alpha", lora_alpha},
                 {"lora_dropout", lora_dropout},
                 {"use_rslora", use_rslora},
                 {"use_dora", use_dora},
                 {"rank_pattern", ranks},
                 {"alpha_pattern", alphas},
                 {"target_modules", modules},
                 {"exclude_modules", exclude_modules},
                 {"layers_to_transform", targets.layers.empty() ? json() : json(targets.layers)},
                 {"modules_to_save", modules_to_save.empty() ? json() : json(modules_to_save)},
                 {"bias", bias},
                 {"init_lora_weights", init_json(*this)},
                 {"fan_in_fan_out", false}};
  if (lr_ratio != 1.0) object["loraplus_lr_ratio"] = lr_ratio;
  return object;
}

}  // namespace mpeft::peft
