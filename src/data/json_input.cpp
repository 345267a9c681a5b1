#include "data/json_input.h"

#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"
#include "mpeft/core/strings.h"

namespace mpeft::data {
namespace {
constexpr int kMaxDepth = 64;
constexpr uint64_t kMaxBytes = uint64_t{2} << 30;
}  // namespace

nlohmann::json parse_json(std::string_view text, const std::string& where, const std::set<std::string>& unneeded) {
  using nlohmann::json;
  const std::string prefix = where.empty() ? "" : where + ": ";
  const auto guard = [&](int depth, json::parse_event_t event, const json& value) {
    const bool opens = event == json::parse_event_t::object_start || event == json::parse_event_t::array_start;
    if (opens && depth >= kMaxDepth) throw DataError(str(prefix, "nested deeper than ", kMaxDepth, " levels"));
    return event != json::parse_event_t::key || unneeded.empty() ||
           unneeded.count(value.get_ref<const std::string&>()) == 0;
  };
  try {
    return json::parse(text.begin(), text.end(), guard);
  } catch (const json::exception& e) {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: …": the code in front tells a user nothing.
    const std::string what = e.what();
    const size_t end = what.find("] ");
    throw DataError(prefix + "not JSON: " + to_valid_utf8(end == std::string::npos ? what : what.substr(end + 2)));
  }
}

nlohmann::json read_json_file(const std::string& path, const std::set<std::string>& unneeded) {
  const std::string text = fs::read_file(path, kMaxBytes);
  if (trim(text).empty()) throw DataError(path + ": is empty; expected JSON");
  return parse_json(text, path, unneeded);
}

}  // namespace mpeft::data
