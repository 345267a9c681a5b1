#include "peft/method_config.h"

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

namespace mpeft::peft {

using nlohmann::json;

void MethodConfig::problem(const std::string& key, const std::string& what) {
  problems_.push_back(mpeft::str(where_, ": ", key, ": ", what));
}

json MethodConfig::raw(const std::string& key) {
  read_.insert(key);
  return has(key) ? object_.at(key) : json();
}

int64_t MethodConfig::integer(const std::string& key, int64_t fallback, int64_t low, int64_t high) {
  const json value = raw(key);
  if (value.is_null()) return fallback;
  if (!value.is_number_integer() || value.get<int64_t>() < low || value.get<int64_t>() > high) {
    problem(key, mpeft::str("expected an integer in [", low, ", ", high, "], got ", value.dump()));
    return fallback;
  }
  return value.get<int64_t>();
}

double MethodConfig::number(const std::string& key, double fallback, double low, double high) {
  const json value = raw(key);
  if (value.is_null()) return fallback;
  if (!value.is_number() || !(value.get<double>() >= low && value.get<double>() <= high)) {
    problem(key, mpeft::str("expected a number in [", low, ", ", high, "], got ", value.dump()));
    return fallback;
  }
  return value.get<double>();
}

bool MethodConfig::boolean(const std::string& key, bool fallback) {
  const json value = raw(key);
  if (value.is_null()) return fallback;
  if (!value.is_boolean()) {
    problem(key, "expected true or false, got " + value.dump());
    return fallback;
  }
  return value.get<bool>();
}

std::string MethodConfig::text(const std::string& key, const std::string& fallback) {
  const json value = raw(key);
  if (value.is_null()) return fallback;
  if (!value.is_string()) {
    problem(key, "expected a string, got " + value.dump());
    return fallback;
  }
  return value.get<std::string>();
}

std::vector<std::string> MethodConfig::texts(const std::string& key) {
  const json value = raw(key);
  if (value.is_null()) return {};
  if (value.is_string()) return {value.get<std::string>()};
  std::vector<std::string> result;
  bool good = value.is_array();
  if (good) {
    for (const auto& item : value) {
      good = good && item.is_string();
      if (good) result.push_back(item.get<std::string>());
    }
  }
  if (!good) problem(key, "expected a list of strings, got " + value.dump());
  return result;
}

void MethodConfig::finish(const std::vector<std::pair<std::string, json>>& neutral_fields) {
  std::vector<std::string> known(read_.begin(), read_.end());
  for (const auto& [key, value] : neutral_fields) known.push_back(key);
  for (const auto& [key, value] : object_.items()) {
    if (read_.contains(key)) continue;
    if (value.is_null()) continue;  // newer versions of PEFT write the fields that they add, as null
    bool is_defined = false, is_neutral = false;
    std::string neutral;
    for (const auto& [name, allowed] : neutral_fields) {
      if (name != key) continue;
      is_defined = true;
      neutral = allowed.dump();
      is_neutral = is_neutral || value == allowed || value.is_null() || (value.is_structured() && value.empty());
    }
    if (!is_defined) {
      problem(key, "unknown field" + did_you_mean(key, known));
    } else if (!is_neutral) {
      problem(key, mpeft::str("this value is not supported: ", value.dump(), " (leave it at ", neutral, ")"));
    }
  }
  if (!problems_.empty()) throw ConfigError(join(problems_, "\n"));
}

void MethodConfig::finish() {
  for (const char* key : {"base_model_name_or_path", "revision", "auto_mapping", "peft_version", "task_type",
                          "inference_mode", "peft_type"}) {
    raw(key);
  }
  finish({});
}

}  // namespace mpeft::peft
