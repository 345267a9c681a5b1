#include "checkpoint/json_file.h"

#include <set>

#include "mpeft/core/fs.h"
#include "mpeft/core/json.h"

#include "checkpoint/messages.h"

namespace mpeft::checkpoint {

nlohmann::json parse_json_object(const std::string& text, const std::string& name) {
  std::vector<std::set<std::string>> keys;
  const auto check = [&](int, nlohmann::json::parse_event_t event, const nlohmann::json& parsed) {
    using Event = nlohmann::json::parse_event_t;
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end) keys.pop_back();
    if (event == Event::key && !keys.back().insert(parsed.get<std::string>()).second) {
      fail(name, ": key ", quote(parsed.get<std::string>()), " appears twice");
    }
    return true;
  };
  auto json = parse_json_or_throw<CheckpointError>(text, name, {.keep = check});
  if (!json.is_object()) fail(name, ": expected a JSON object, found ", json.type_name());
  return json;
}

bool is_file(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(path, ignored);
}

std::string read_text(const std::filesystem::path& path, uint64_t max_bytes) {
  try {
    return fs::read_file(path, max_bytes);
  } catch (const DataError& e) {
    throw CheckpointError(e.what());
  }
}

nlohmann::json read_json_object(const std::filesystem::path& path, uint64_t max_bytes) {
  return parse_json_object(read_text(path, max_bytes), path.string());
}

}  // namespace mpeft::checkpoint
