#include <functional>
#include <map>

#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"
#include "mpeft/core/json.h"
#include "mpeft/core/strings.h"
#include "mpeft/peft/peft_method.h"

#include "peft/method_config.h"

namespace mpeft::peft {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxConfigBytes = 4 << 20;

struct Entry {
  std::function<std::unique_ptr<PeftMethod>(MethodConfig&)> make;
  std::function<std::vector<std::string>()> examples;
};

const std::map<std::string, Entry>& entries() {
  static const std::map<std::string, Entry> table = {
#define PEFT_METHOD(type, factory) {#type, {factory, factory##_examples}},
#include "peft/methods.def"
#undef PEFT_METHOD
  };
  return table;
}

json parse_config(const std::string& json_text, const std::string& where) {
  return parse_json_or_throw<ConfigError>(json_text, where, {.unique_keys = true});
}

}  // namespace

std::vector<std::string> peft_method_names() {
  std::vector<std::string> names;
  for (const auto& [name, entry] : entries()) names.push_back(name);
  return names;
}

std::vector<std::string> peft_method_examples(const std::string& name) { return entries().at(name).examples(); }

std::unique_ptr<PeftMethod> make_parsed_method(json object, const std::string& where) {
  if (!object.is_object()) throw ConfigError(where + ": expected a JSON object with \"peft_type\"");
  MethodConfig config(std::move(object), where);
  const std::string type = config.text("peft_type", "");
  if (type.empty()) throw ConfigError(where + ": peft_type: missing; one of " + join(peft_method_names(), ", "));
  const auto it = entries().find(type);
  if (it == entries().end()) {
    throw ConfigError(mpeft::str(where, ": peft_type: unknown method '", type, "'",
                                 did_you_mean(type, peft_method_names()),
                                 "; known: ", join(peft_method_names(), ", ")));
  }
  return it->second.make(config);
}

std::unique_ptr<PeftMethod> make_peft_method(const std::string& json_text, const std::string& where) {
  return make_parsed_method(parse_config(json_text, where), where);
}

std::unique_ptr<PeftMethod> make_peft_method_from_files(const std::vector<std::filesystem::path>& files) {
  if (files.empty()) throw ConfigError("peft: an empty list of adapter configurations");
  const auto read = [](const std::filesystem::path& file) {
    return parse_config(fs::read_file(file, kMaxConfigBytes), file.string());
  };
  if (files.size() == 1) return make_parsed_method(read(files[0]), files[0].string());
  std::vector<json> parts;
  std::vector<std::string> names;
  for (const auto& file : files) {
    parts.push_back(read(file));
    names.push_back(file.string());
  }
  return compose(parts, names);
}

}  // namespace mpeft::peft
