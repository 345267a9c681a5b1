#include "checkpoint/json_file.h"

#include <set>

#include "mpeft/core/fs.h"

#include "checkpoint/messages.h"

namespace mpeft::checkpoint {
namespace {

constexpr int kDeepest = 64;

}  // namespace

std::string json_reason(const nlohmann::json::exception& e) {
  const std::string text = to_valid_utf8(e.what());
  const size_t end = text.find("] ");
  return text.rfind("[json.exception", 0) == 0 && end != std::string::npos ? text.substr(end + 2) : text;
}

nlohmann::json parse_json_object(const std::string& text, const std::string& name) {
  std::vector<std::set<std::string>> keys;
  const auto check = [&](int depth, nlohmann::json::parse_event_t event, nlohmann::json& parsed) {
    using Event = nlohmann::json::parse_event_t;
    if (depth > kDeepest) fail(name, ": nested deeper than ", kDeepest, " levels");
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end) keys.pop_back();
    if (event == Event::key && !keys.back().insert(parsed.get<std::string>()).second) {
      fail(name, ": key ", quote(parsed.get<std::string>()), " appears twice");
    }
    return true;
  };
  nlohmann::json json;
  try {
    json = nlohmann::json::parse(text, check);
  } catch (const nlohmann::json::exception& e) {
    fail(name, ": not valid JSON: ", json_reason(e));
  }
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
