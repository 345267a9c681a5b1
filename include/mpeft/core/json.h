#pragma once

#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

namespace mpeft {

/// What is wrong with a text that should be JSON, and where.
struct JsonProblem : std::runtime_error {
  explicit JsonProblem(std::string why, int64_t line_number = 0, int64_t column_number = 0);

  int64_t line;        ///< from 1; 0: of no one place (a number too large)
  int64_t column;      ///< from 1, in characters
  std::string reason;  ///< "not valid JSON: unexpected end of input; expected '}'", "nested deeper than 64 levels"

  /// "name:line:column: reason"; without a place "name: reason". what() is the same without a name.
  std::string at(const std::string& name) const;
};

struct JsonRules {
  int64_t first_line = 1;    ///< of the file that the text is a line of
  int max_depth = 64;        ///< 0: not looked at (somebody else has)
  bool unique_keys = false;  ///< a key that an object has twice is a problem; else its last value counts
  /// As the parser's callback: what it says no to is checked and not kept.
  std::function<bool(int depth, nlohmann::json::parse_event_t event, nlohmann::json& value)> keep = nullptr;
};

/// The reason in an exception of the JSON library, without its internal number.
std::string json_reason(const nlohmann::json::exception& e);

/// Parses a document from outside. Throws JsonProblem.
nlohmann::json parse_json(std::string_view text, const JsonRules& rules = {});

/// As parse_json, with the keys of objects in the order of the text, which is the file's from `first_line` on.
nlohmann::ordered_json parse_ordered_json(std::string_view text, int64_t first_line = 1);

/// As parse_json. Throws an E that names the place in `name`, the file.
template <typename E>
nlohmann::json parse_json_or_throw(std::string_view text, const std::string& name, const JsonRules& rules = {}) {
  try {
    return parse_json(text, rules);
  } catch (const JsonProblem& problem) {
    throw E(problem.at(name));
  }
}

}  // namespace mpeft
