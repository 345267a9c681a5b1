#include "data/json_input.h"

#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"
#include "mpeft/core/json.h"
#include "mpeft/core/strings.h"

namespace mpeft::data {
namespace {
constexpr uint64_t kMaxBytes = uint64_t{2} << 30;
}  // namespace

nlohmann::json read_json_file(const std::string& path, const std::set<std::string>& unneeded) {
  const std::string text = fs::read_file(path, kMaxBytes);
  if (trim(text).empty()) throw DataError(path + ": is empty; expected JSON");
  JsonRules rules;
  if (!unneeded.empty()) {
    rules.keep = [&](int, nlohmann::json::parse_event_t event, const nlohmann::json& value) {
      return event != nlohmann::json::parse_event_t::key || !unneeded.contains(value.get_ref<const std::string&>());
    };
  }
  return parse_json_or_throw<DataError>(text, path, rules);
}

}  // namespace mpeft::data
