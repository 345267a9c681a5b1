#include "data/template.h"

#include "mpeft/core/error.h"

namespace mpeft::data {

Template::Template(const std::string& text) {
  std::string literal;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const bool doubled = i + 1 < text.size() && text[i + 1] == c;
    if (c == '{' && !doubled) {
      const size_t end = text.find_first_of("{}", i + 1);
      if (end == std::string::npos || text[end] != '}')
        throw ConfigError("'{' without '}' (write {{ for the brace itself)");
      const std::string name = text.substr(i + 1, end - i - 1);
      if (name.empty()) throw ConfigError("{} names no field");
      if (!literal.empty()) pieces_.push_back({literal, false});
      literal.clear();
      pieces_.push_back({name, true});
      i = end;
    } else if (c == '}' && !doubled) {
      throw ConfigError("'}' without '{' (write }} for the brace itself)");
    } else {
      if (c == '{' || c == '}') ++i;
      literal += c;
    }
  }
  if (!literal.empty()) pieces_.push_back({literal, false});
}

std::vector<std::string> Template::fields() const {
  std::vector<std::string> names;
  for (const auto& piece : pieces_) {
    if (piece.is_field) names.push_back(piece.text);
  }
  return names;
}

std::string Template::fill(const std::function<std::string(const std::string&)>& value_of) const {
  std::string out;
  for (const auto& piece : pieces_) out += piece.is_field ? value_of(piece.text) : piece.text;
  return out;
}

}  // namespace mpeft::data
