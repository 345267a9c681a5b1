#include <algorithm>
#include <array>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string_view>

#include <yaml-cpp/yaml.h>

#include "mpeft/config/experiment.h"
#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

namespace mpeft::config {
namespace {

// Keys that say where and how an experiment runs, not what comes out.
constexpr std::array<std::string_view, 14> kOfTheRun = {
    "data_root",    "predictions_format", "backend",     "device", "num_data_workers", "token_cache", "log_steps",
    "save_minutes", "save_total_limit",   "cuda_graphs", "resume", "overwrite",        "lock",        "output_dir"};

// Keys that a run may change on its way: how often it is measured and stopped, not what is trained or measured.
constexpr std::array<std::string_view, 6> kOfTheWay = {"skip_eval",       "eval_epochs", "eval_before_training",
                                                       "eval_batch_size", "no_save",     "min_eval_metric_after_epoch"};

// Keys that say when a run ends.
constexpr std::array<std::string_view, 2> kOfTheEnd = {"num_epochs", "max_steps"};

constexpr std::string_view kJsonLines = "jsonl:";

bool is_among(std::string_view key, std::span<const std::string_view> keys) {
  return std::ranges::find(keys, key) != keys.end();
}

std::string one_line(const YAML::Node& value) {
  YAML::Emitter out;
  out.SetMapFormat(YAML::Flow);
  out.SetSeqFormat(YAML::Flow);
  out << value;
  return out.c_str();
}

// Of maps what differs within them.
void compare(const std::string& key, const YAML::Node& before, const YAML::Node& now,
             std::vector<std::string>& changes) {
  if (before.IsMap() && now.IsMap()) {
    for (const auto& entry : now) {
      const auto name = entry.first.as<std::string>();
      compare(key + "." + name, before[name] ? before[name] : YAML::Node(), entry.second, changes);
    }
    for (const auto& entry : before) {
      const auto name = entry.first.as<std::string>();
      if (!now[name]) compare(key + "." + name, entry.second, YAML::Node(), changes);
    }
    return;
  }
  const std::string was = one_line(before), is = one_line(now);
  if (was != is) changes.push_back(mpeft::str(key, ": ", was, " → ", is));
}

// A file is named by another path from another working folder: the shorter one ends the longer one.
bool is_same_path(const std::string& a, const std::string& b) {
  const auto& [shorter, longer] = std::minmax(a, b, [](auto& x, auto& y) { return x.size() < y.size(); });
  return shorter == longer || longer.ends_with("/" + shorter);
}

// Of data sets those that name a file.
bool is_same_data(const std::string& a, const std::string& b) {
  if (!a.starts_with(kJsonLines) || !b.starts_with(kJsonLines)) return a == b;
  return is_same_path(a.substr(kJsonLines.size()), b.substr(kJsonLines.size()));
}

// A file that has moved keeps its name; a folder of weights is known by its contents alone.
bool has_same_name(const std::string& a, const std::string& b) {
  const auto is_file = [](const std::string& path) {
    return path.ends_with(".json") || path.ends_with(".yaml") || path.ends_with(".yml") || path.starts_with(kJsonLines);
  };
  const auto name = [](const std::string& path) { return path.substr(path.find_last_of("/:") + 1); };
  return a == b || (is_file(a) && is_file(b) && name(a) == name(b));
}

// A size of cfg/models has no weights to compare.
bool is_size(const std::string& model) {
  return model.ends_with(".yaml") || model.ends_with(".yml") || model.find('/') == std::string::npos;
}

// `before` with the names of `now` where they name the same file.
ExperimentConfig named_as(const ExperimentConfig& before, const ExperimentConfig& now) {
  ExperimentConfig result = before;
  if (is_same_path(before.model, now.model)) result.model = now.model;
  if (is_same_path(before.tokenizer, now.tokenizer)) result.tokenizer = now.tokenizer;
  if (is_same_data(before.data, now.data)) result.data = now.data;
  if (is_same_data(before.val_data, now.val_data)) result.val_data = now.val_data;
  if (std::ranges::equal(before.peft, now.peft, is_same_path)) result.peft = now.peft;
  return result;
}

// "key: old → new" of each key that differs, without those that `is_free` says.
std::vector<std::string> differences(const ExperimentConfig& before, const ExperimentConfig& now,
                                     const std::function<bool(std::string_view key)>& is_free) {
  const YAML::Node old_values = YAML::Load(dump_yaml(before)), new_values = YAML::Load(dump_yaml(now));
  std::vector<std::string> changes;
  for (const auto& entry : new_values) {
    const auto key = entry.first.as<std::string>();
    if (!is_among(key, kOfTheRun) && !is_free(key)) compare(key, old_values[key], entry.second, changes);
  }
  return changes;
}

// Whether the learning rate of a step does not hang on how many there are.
bool may_end_elsewhere(const ExperimentConfig& before, const ExperimentConfig& now) {
  return before.lr_scheduler == "constant" && now.lr_scheduler == "constant";
}

}  // namespace

std::vector<std::string> changed_settings(const ExperimentConfig& before, const ExperimentConfig& now) {
  return differences(named_as(before, now), now, [](std::string_view) { return false; });
}

std::vector<std::string> changes_against_resume(const ExperimentConfig& before, const ExperimentConfig& now) {
  ExperimentConfig old = named_as(before, now);
  const bool have_weights = !is_size(before.model) && !is_size(now.model);
  if (have_weights || has_same_name(before.model, now.model)) old.model = now.model;
  old.tokenizer = now.tokenizer;
  if (has_same_name(before.data, now.data)) old.data = now.data;
  if (has_same_name(before.val_data, now.val_data)) old.val_data = now.val_data;
  if (std::ranges::equal(before.peft, now.peft, has_same_name)) old.peft = now.peft;
  return differences(old, now, [&](std::string_view key) {
    return is_among(key, kOfTheWay) || (is_among(key, kOfTheEnd) && may_end_elsewhere(before, now));
  });
}

bool is_extension(const ExperimentConfig& before, const ExperimentConfig& now) {
  const auto not_before = [](int64_t end, int64_t old_end) { return end == 0 || (old_end != 0 && end >= old_end); };
  const bool ends_elsewhere = now.num_epochs != before.num_epochs || now.max_steps != before.max_steps;
  const auto is_free = [](std::string_view key) { return is_among(key, kOfTheEnd) || is_among(key, kOfTheWay); };
  return may_end_elsewhere(before, now) && ends_elsewhere && now.num_epochs >= before.num_epochs &&
         not_before(now.max_steps, before.max_steps) && (before.no_save || !now.no_save) &&
         differences(named_as(before, now), now, is_free).empty();
}

std::optional<ExperimentConfig> saved_experiment(const std::string& output_dir) {
  const auto path = std::filesystem::path(output_dir) / "cfg.yaml";
  std::error_code hidden;
  if (!std::filesystem::exists(path, hidden)) return std::nullopt;
  try {
    return load_experiment(path.string(), {}, {.check_files = false, .data_problem = nullptr});
  } catch (const Error&) {
    return std::nullopt;
  }
}

}  // namespace mpeft::config
