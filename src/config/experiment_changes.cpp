#include <algorithm>
#include <array>
#include <string_view>

#include <yaml-cpp/yaml.h>

#include "mpeft/config/experiment.h"
#include "mpeft/core/strings.h"

namespace mpeft::config {
namespace {

// Keys that say where and how an experiment runs, not what comes out.
constexpr std::array<std::string_view, 13> kOfTheRun = {
    "data_root", "predictions_format", "backend",     "device", "num_data_workers", "token_cache",
    "log_steps", "save_total_limit",   "cuda_graphs", "resume", "overwrite",        "lock",
    "output_dir"};

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

}  // namespace

std::vector<std::string> changed_settings(const ExperimentConfig& before, const ExperimentConfig& now) {
  ExperimentConfig as_named_now = before;
  if (is_same_path(before.model, now.model)) as_named_now.model = now.model;
  if (is_same_path(before.tokenizer, now.tokenizer)) as_named_now.tokenizer = now.tokenizer;
  if (std::ranges::equal(before.peft, now.peft, is_same_path)) as_named_now.peft = now.peft;
  const YAML::Node old_values = YAML::Load(dump_yaml(as_named_now)), new_values = YAML::Load(dump_yaml(now));
  std::vector<std::string> changes;
  for (const auto& entry : new_values) {
    const auto key = entry.first.as<std::string>();
    if (std::find(kOfTheRun.begin(), kOfTheRun.end(), key) == kOfTheRun.end())
      compare(key, old_values[key], entry.second, changes);
  }
  return changes;
}

}  // namespace mpeft::config
