#include "mpeft/core/json.h"

#include <algorithm>
#include <string>
#include <vector>

#include "mpeft/core/strings.h"

namespace mpeft {
namespace {

constexpr size_t kLongestExcerpt = 60;

bool begins_character(char byte) { return (static_cast<unsigned char>(byte) & 0xC0U) != 0x80U; }

// The library's "parse error at line 1, column 2: syntax error while parsing value - unexpected …; last read: '…';
// expected …" without its place, and with the end of what was read last, which may be all of a large file.
std::string reason_of(const nlohmann::json::exception& e) {
  std::string text = json_reason(e);
  if (text.starts_with("parse error")) {
    if (const size_t end = text.find(": "); end != std::string::npos) text.erase(0, end + 2);
  }
  constexpr std::string_view kRead = "last read: '";
  const size_t begin = text.find(kRead);
  if (begin != std::string::npos) {
    const size_t first = begin + kRead.size(), last = text.rfind('\'', std::max(text.rfind("'; expected"), first));
    if (last != std::string::npos && last > first + kLongestExcerpt) {
      size_t cut = last - kLongestExcerpt;
      while (cut < last && !begins_character(text[cut])) ++cut;
      text.replace(first, cut - first, "…");
    }
  }
  return to_valid_utf8(text);
}

// The problem with its place: byte `offset` of the text.
JsonProblem placed(std::string reason, std::string_view text, size_t offset, int64_t first_line) {
  const std::string_view before = text.substr(0, std::min(offset, text.size()));
  const size_t newline = before.rfind('\n');
  const std::string_view in_line = newline == std::string_view::npos ? before : before.substr(newline + 1);
  return JsonProblem(std::move(reason), first_line + std::ranges::count(before, '\n'),
                     1 + std::ranges::count_if(in_line, begins_character));
}

// Where the bracket is that opens one level too many, of a text that is JSON up to there.
size_t offset_of_level(std::string_view text, int level) {
  int depth = 0;
  bool in_text = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '"') in_text = !in_text;
    if (in_text && c == '\\') ++i;
    if (in_text) continue;
    if ((c == '[' || c == '{') && ++depth == level) return i;
    if (c == ']' || c == '}') --depth;
  }
  return text.size();
}

JsonProblem problem_of(const nlohmann::json::exception& e, std::string_view text, int64_t first_line) {
  std::string reason = "not valid JSON: " + reason_of(e);
  const auto* error = dynamic_cast<const nlohmann::json::parse_error*>(&e);
  if (error == nullptr) return JsonProblem(std::move(reason));
  // `byte` counts the bytes read so far, the one that does not fit among them.
  return placed(std::move(reason), text, error->byte > 0 ? error->byte - 1 : 0, first_line);
}

// Finds keys that an object has twice, from the parser's events.
class KeyWatch {
 public:
  template <typename Json>
  void see(int depth, typename Json::parse_event_t event, const Json& value) {
    using Event = typename Json::parse_event_t;
    if (event == Event::object_start) {
      open_.resize(static_cast<size_t>(depth) + 1);
      open_.back().clear();
    } else if (event == Event::key) {
      auto& keys = open_[static_cast<size_t>(depth) - 1];
      const auto& key = value.template get_ref<const std::string&>();
      if (std::ranges::find(keys, key) != keys.end())
        throw JsonProblem(str("the key '", to_valid_utf8(key), "' is there twice"));
      keys.push_back(key);
    }
  }

 private:
  std::vector<std::vector<std::string>> open_;  // by depth: keys of the objects around the place, a few each
};

template <typename Json>
Json parse(std::string_view text, int64_t first_line, int max_depth, bool unique_keys,
           const std::function<bool(int depth, typename Json::parse_event_t event, Json& value)>& keep) {
  using Event = typename Json::parse_event_t;
  KeyWatch keys;
  const auto guard = [&](int depth, Event event, Json& value) {
    const bool opens = event == Event::object_start || event == Event::array_start;
    if (opens && max_depth > 0 && depth >= max_depth)
      throw placed(str("nested deeper than ", max_depth, " levels"), text, offset_of_level(text, max_depth + 1),
                   first_line);
    if (unique_keys) keys.see(depth, event, value);
    return !keep || keep(depth, event, value);
  };
  using Callback = typename Json::parser_callback_t;
  try {
    return Json::parse(text.begin(), text.end(), max_depth > 0 || unique_keys || keep ? Callback(guard) : Callback());
  } catch (const nlohmann::json::exception& e) {
    throw problem_of(e, text, first_line);
  }
}

}  // namespace

JsonProblem::JsonProblem(std::string why, int64_t line_number, int64_t column_number)
    : std::runtime_error(line_number == 0 ? why : str(line_number, ":", column_number, ": ", why)),
      line(line_number),
      column(column_number),
      reason(std::move(why)) {}

std::string JsonProblem::at(const std::string& name) const {
  return line == 0 ? str(name, ": ", reason) : str(name, ":", line, ":", column, ": ", reason);
}

std::string json_reason(const nlohmann::json::exception& e) {
  const std::string text = to_valid_utf8(e.what());
  const size_t end = text.find("] ");
  return text.starts_with("[json.exception") && end != std::string::npos ? text.substr(end + 2) : text;
}

nlohmann::json parse_json(std::string_view text, const JsonRules& rules) {
  return parse<nlohmann::json>(text, rules.first_line, rules.max_depth, rules.unique_keys, rules.keep);
}

nlohmann::ordered_json parse_ordered_json(std::string_view text, int64_t first_line) {
  return parse<nlohmann::ordered_json>(text, first_line, JsonRules().max_depth, false, nullptr);
}

}  // namespace mpeft
