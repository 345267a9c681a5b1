#include "peft/sd_lora_config.h"

#include <algorithm>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

#include "peft/sd_selection.h"

namespace mpeft::peft {
namespace {

using nlohmann::json;

constexpr int64_t kMaxCount = 1 << 20;
constexpr int64_t kMaxSteps = 100'000'000;

// Fields of the reference, and of Hugging Face PEFT, at the values that change nothing.
const std::vector<std::pair<std::string, json>>& neutral_sd_lora_fields() {
  static const std::vector<std::pair<std::string, json>> fields = {{"select_mode", "CHANNELS_PER_STATE_CHANNELS"},
                                                                   {"proj_select_mode", "CHANNELS_ALL_STATES"},
                                                                   {"reg_scale", 0.0},
                                                                   {"finetune_parameters", json::array()},
                                                                   {"sdlora_alpha", json::object()},
                                                                   {"task_type", "CAUSAL_LM"},
                                                                   {"task_type", "SEQ_CLS"},
                                                                   {"inference_mode", true},
                                                                   {"inference_mode", false}};
  return fields;
}

// {"state": …, "channel": …}: fractions, or counts when written as integers.
void read_frozen(MethodConfig& config, SdLoraConfig& sd) {
  const json value = config.raw("num_freeze");
  if (value.is_null()) return;
  const bool is_pair = value.is_object() && value.size() == 2 && value.contains("state") && value.contains("channel");
  if (!is_pair) return config.problem("num_freeze", R"(expected {"state": …, "channel": …}, got )" + value.dump());
  for (const char* key : {"state", "channel"}) {
    const json& number = value.at(key);
    const bool is_count = number.is_number_unsigned() && number.get<uint64_t>() < kMaxCount;
    const bool is_fraction = number.is_number_float() && number.get<double>() >= 0 && number.get<double>() < 1;
    if (!is_count && !is_fraction) {
      config.problem(mpeft::str("num_freeze.", key), "expected a fraction in [0, 1) or a count, got " + number.dump());
      continue;
    }
    (key == std::string("state") ? sd.frozen_states : sd.frozen_channels) =
        SdLoraConfig::Frozen{number.get<double>(), is_fraction};
  }
}

void read_zero(MethodConfig& config) {
  const json value = config.raw("num_zero");
  if (value.is_null()) return;
  const bool is_nothing = value.is_object() && std::all_of(value.begin(), value.end(), [](const json& number) {
                            return number.is_number() && number.get<double>() == 0;
                          });
  if (!is_nothing) config.problem("num_zero", "setting states or channels to zero is not supported; leave it at 0");
}

void read_targets(MethodConfig& config, SdLoraConfig& sd) {
  sd.target_modules = config.texts("target_modules");
  bool has_A_log = false;
  for (const auto& name : sd.target_modules) {
    if (name == "A_log") {
      has_A_log = true;
    } else if (name == "x_proj_dt" || name == "x_proj_B" || name == "x_proj_C") {
      sd.column_targets.push_back(name);
    } else {
      sd.lora_targets.push_back(name);
    }
  }
  if (!has_A_log) {
    config.problem("target_modules", "must name A_log: what is trained is chosen by how far A_log moves");
  }
  auto sorted = sd.target_modules;
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice != sorted.end()) config.problem("target_modules", "'" + *twice + "' stands there twice");

  sd.proj_lora_r = config.integer("proj_lora_r", 0, 1, 65536);
  sd.proj_lora_alpha = config.number("proj_lora_alpha", static_cast<double>(sd.proj_lora_r), -1e6, 1e6);
  sd.proj_lora_dropout = config.number("proj_lora_dropout", 0.1, 0.0, 0.999);
  if (!sd.lora_targets.empty() && sd.proj_lora_r == 0) {
    config.problem("proj_lora_r", "missing: the rank of LoRA on " + join(sd.lora_targets, ", "));
  }
}

template <typename Choice>
Choice read_choice(MethodConfig& config, const std::string& key,
                   const std::vector<std::pair<std::string, Choice>>& all) {
  const std::string text = config.text(key, all.front().first);
  std::vector<std::string> names;
  for (const auto& [name, choice] : all) {
    if (name == text) return choice;
    names.push_back(name);
  }
  config.problem(key, mpeft::str("expected ", join(names, " or "), ", got '", text, "'", did_you_mean(text, names)));
  return all.front().second;
}

json object_at(MethodConfig& config, const std::string& key) {
  json value = config.raw(key);
  if (value.is_null()) return json::object();
  if (value.is_object()) return value;
  config.problem(key, "expected an object, got " + value.dump());
  return json::object();
}

void read_selection(MethodConfig& section, SdLoraConfig& sd, bool has_num_freeze) {
  sd.metric = read_choice<SdLoraConfig::Metric>(
      section, "metric",
      {{"a_log_delta", SdLoraConfig::Metric::kALogDelta}, {"abar_delta", SdLoraConfig::Metric::kABarDelta}});
  sd.keep_states = section.integer("keep_states", 0, 1, kMaxCount);
  sd.keep_channels = section.integer("keep_channels", 0, 1, kMaxCount);
  sd.selected = section.raw("layers");
  if (has_num_freeze) {
    for (const char* key : {"keep_states", "keep_channels"}) {
      if (section.has(key)) section.problem(key, "num_freeze says it already: give one of them");
    }
  } else if (sd.keep_states == 0 || sd.keep_channels == 0) {
    section.problem("keep_states, keep_channels", "missing: how many to train (or num_freeze: what shares not to)");
  }
}

void read_warmup(MethodConfig& section, SdLoraConfig& sd, bool has_num_warmup_it) {
  sd.scope = read_choice<SdLoraConfig::Scope>(
      section, "scope", {{"a_log", SdLoraConfig::Scope::kALog}, {"ssm_full", SdLoraConfig::Scope::kSsmFull}});
  sd.warmup_steps = section.integer("steps", sd.warmup_steps, 1, kMaxSteps);
  if (section.has("steps") && has_num_warmup_it)
    section.problem("steps", "num_warmup_it says it already: give one of them");
}

void check_count(int64_t count, int64_t dim, const std::string& where, const std::string& key, const char* what) {
  if (count > dim) throw ConfigError(mpeft::str(where, ": ", key, ": ", count, ", but the model has ", dim, " ", what));
}

int64_t kept(const SdLoraConfig& sd, int64_t keep, const SdLoraConfig::Frozen& frozen, int64_t dim, const char* name,
             const char* what) {
  if (keep > 0) {
    check_count(keep, dim, sd.where, mpeft::str("selection.keep_", what), what);
    return keep;
  }
  if (!frozen.is_fraction) {
    check_count(static_cast<int64_t>(frozen.value) + 1, dim, sd.where, mpeft::str("num_freeze.", name, " + 1"), what);
  }
  return n_kept(frozen.value, frozen.is_fraction, dim);
}

json frozen_json(const SdLoraConfig::Frozen& frozen) {
  return frozen.is_fraction ? json(frozen.value) : json(static_cast<int64_t>(frozen.value));
}

// One line a layer instead of one a number.
std::string dump_lists(const json& lists) {
  std::vector<std::string> lines;
  for (const auto& layer : lists) lines.push_back("      " + layer.dump());
  return "[\n" + join(lines, ",\n") + "\n    ]";
}

}  // namespace

SdLoraConfig read_sd_lora_config(MethodConfig& config) {
  SdLoraConfig sd;
  sd.where = config.where();
  read_targets(config, sd);
  read_zero(config);
  read_frozen(config, sd);
  const bool has_num_warmup_it = config.has("num_warmup_it");
  sd.warmup_steps = config.integer("num_warmup_it", 499, 0, kMaxSteps) + 1;
  // Who wrote the file and for which model: kept for people, of no effect.
  for (const char* key : {"base_model_name_or_path", "revision", "auto_mapping", "peft_version"}) config.raw(key);

  MethodConfig selection(object_at(config, "selection"), config.where() + ": selection");
  MethodConfig warmup(object_at(config, "warmup"), config.where() + ": warmup");
  read_selection(selection, sd, config.has("num_freeze"));
  read_warmup(warmup, sd, has_num_warmup_it);

  std::vector<std::string> problems;
  const std::vector<std::pair<std::string, json>> none;
  for (auto* section : {&config, &selection, &warmup}) {
    try {
      section->finish(section == &config ? neutral_sd_lora_fields() : none);
    } catch (const ConfigError& e) {
      problems.push_back(e.what());
    }
  }
  if (!problems.empty()) throw ConfigError(join(problems, "\n"));
  return sd;
}

int64_t SdLoraConfig::n_states(int64_t d_state) const {
  return kept(*this, keep_states, frozen_states, d_state, "state", "states");
}

int64_t SdLoraConfig::n_channels(int64_t d_inner) const {
  return kept(*this, keep_channels, frozen_channels, d_inner, "channel", "channels");
}

std::string SdLoraConfig::to_json(const std::string& base_model) const {
  const auto count_or_null = [](int64_t count) { return count > 0 ? json(count) : json(); };
  const bool has_counts = keep_states > 0;
  json object = {
      {"peft_type", "SD_LORA"},
      {"task_type", "CAUSAL_LM"},
      {"base_model_name_or_path", base_model},
      {"inference_mode", true},
      {"target_modules", target_modules},
      {"proj_lora_r", count_or_null(proj_lora_r)},
      {"num_zero", {{"state", 0}, {"channel", 0}}},
      {"num_freeze",
       has_counts ? json() : json({{"state", frozen_json(frozen_states)}, {"channel", frozen_json(frozen_channels)}})},
      {"num_warmup_it", warmup_steps - 1},
      {"warmup", {{"scope", scope == Scope::kALog ? "a_log" : "ssm_full"}}},
      {"selection",
       {{"metric", metric == Metric::kALogDelta ? "a_log_delta" : "abar_delta"},
        {"keep_states", count_or_null(keep_states)},
        {"keep_channels", count_or_null(keep_channels)},
        {"layers", selected.is_null() ? json() : json("@layers@")}}}};
  if (proj_lora_r > 0) {
    object["proj_lora_alpha"] = proj_lora_alpha;
    object["proj_lora_dropout"] = proj_lora_dropout;
  }
  std::string text = object.dump(2) + "\n";
  if (!selected.is_null()) {
    const std::string placeholder = "\"@layers@\"";
    text.replace(text.find("\"layers\": " + placeholder) + 10, placeholder.size(), dump_lists(selected));
  }
  return text;
}

std::string SdLoraConfig::lora_json() const {
  return json({{"peft_type", "LORA"},
               {"r", proj_lora_r},
               {"lora_alpha", proj_lora_alpha},
               {"lora_dropout", proj_lora_dropout},
               {"target_modules", lora_targets}})
      .dump();
}

}  // namespace mpeft::peft
