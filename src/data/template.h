#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace mpeft::data {

/// A text with `{field}` placeholders; `{{` and `}}` are the braces themselves.
class Template {
 public:
  /// Throws ConfigError (without a place) for a brace that has no partner or an empty name.
  explicit Template(const std::string& text);

  /// Names of the placeholders, in order.
  std::vector<std::string> fields() const;
  /// The text with each placeholder replaced by what `value_of` gives.
  std::string fill(const std::function<std::string(const std::string&)>& value_of) const;

 private:
  struct Piece {
    std::string text;
    bool is_field;
  };
  std::vector<Piece> pieces_;
};

}  // namespace mpeft::data
