#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "mpeft/peft/peft_method.h"

namespace mpeft::peft {

/// Reads the fields of an adapter's JSON, collects what is wrong with them and remembers which were read.
class MethodConfig {
 public:
  MethodConfig(nlohmann::json object, std::string where) : object_(std::move(object)), where_(std::move(where)) {}

  const std::string& where() const { return where_; }
  bool has(const std::string& key) const { return object_.contains(key) && !object_.at(key).is_null(); }
  int64_t integer(const std::string& key, int64_t fallback, int64_t low, int64_t high);
  double number(const std::string& key, double fallback, double low, double high);
  bool boolean(const std::string& key, bool fallback);
  std::string text(const std::string& key, const std::string& fallback);
  /// A list of strings, or one string as a list of one.
  std::vector<std::string> texts(const std::string& key);
  /// The raw value; null when absent.
  nlohmann::json raw(const std::string& key);
  void problem(const std::string& key, const std::string& what);

  /// Accepts fields that Hugging Face PEFT defines and that have no effect at these values; reports every other field
  /// that nobody read, with a suggestion. Then throws ConfigError when there was any problem.
  void finish(const std::vector<std::pair<std::string, nlohmann::json>>& neutral_fields);

  /// For methods that PEFT has not: besides what was read, only what describes the file itself is accepted
  /// (`task_type`, `inference_mode`, `base_model_name_or_path`, …), and it has no effect.
  void finish();

 private:
  nlohmann::json object_;
  std::string where_;
  std::set<std::string> read_;
  std::vector<std::string> problems_;
};

/// As make_peft_method, from a parsed configuration.
std::unique_ptr<PeftMethod> make_parsed_method(nlohmann::json object, const std::string& where);

/// Several methods applied together: the COMPOSITE of `configs`, whose messages start with the `where` of each.
std::unique_ptr<PeftMethod> compose(std::vector<nlohmann::json> configs, std::vector<std::string> where);

#define PEFT_METHOD(type, factory)                           \
  std::unique_ptr<PeftMethod> factory(MethodConfig& config); \
  std::vector<std::string> factory##_examples();
#include "methods.def"
#undef PEFT_METHOD

}  // namespace mpeft::peft
