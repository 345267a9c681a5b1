#include <algorithm>
#include <functional>
#include <map>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"
#include "mpeft/peft/peft_method.h"

#include "peft/method_config.h"

namespace mpeft::peft {
namespace {

using Factory = std::function<std::unique_ptr<PeftMethod>(MethodConfig&)>;

const std::map<std::string, Factory>& factories() {
  static const std::map<std::string, Factory> table = {
#define PEFT_METHOD(type, factory) {#type, factory},
#include "peft/methods.def"
#undef PEFT_METHOD
  };
  return table;
}

}  // namespace

std::vector<std::string> peft_method_names() {
  std::vector<std::string> names;
  for (const auto& [name, factory] : factories()) names.push_back(name);
  return names;
}

std::unique_ptr<PeftMethod> make_peft_method(const std::string& json_text, const std::string& where) {
  auto object = nlohmann::json::parse(json_text, nullptr, /*allow_exceptions=*/false);
  if (object.is_discarded()) throw ConfigError(where + ": not valid JSON");
  if (!object.is_object()) throw ConfigError(where + ": expected a JSON object with \"peft_type\"");
  MethodConfig config(std::move(object), where);
  const std::string type = config.text("peft_type", "");
  if (type.empty()) throw ConfigError(where + ": peft_type: missing; one of " + join(peft_method_names(), ", "));
  const auto it = factories().find(type);
  if (it == factories().end()) {
    throw ConfigError(mpeft::str(where, ": peft_type: unknown method '", type, "'",
                                 did_you_mean(type, peft_method_names()),
                                 "; known: ", join(peft_method_names(), ", ")));
  }
  return it->second(config);
}

}  // namespace mpeft::peft
