#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace mpeft::config {

class Problems;
struct YamlLimits;

/// A value of a YAML document as our own tree: unlike yaml-cpp's nodes it keeps the place of every value, says whether
/// a scalar was quoted, and shows a key that occurs twice.
struct YamlValue {
  enum class Kind { kNull, kScalar, kList, kMap };

  Kind kind = Kind::kNull;
  std::string scalar;
  bool quoted = false;  ///< a quoted or block scalar: never a number, truth value or null when written again
  std::string place;    ///< "file:line:col" or the name of a flag

  std::vector<std::shared_ptr<YamlValue>> items;                            ///< of a list
  std::vector<std::pair<std::string, std::shared_ptr<YamlValue>>> entries;  ///< of a map, in the order of the file

  std::set<std::string> asked;  ///< keys of this map that somebody read, present or not
  bool was_read = false;        ///< some key of this map was read

  /// The value of a key of a map, or null.
  std::shared_ptr<YamlValue> find(const std::string& key) const;
};

/// Parses one document. Throws ConfigError for what is not YAML, holds more values than `limits` says or is nested
/// deeper than 64 levels; duplicate keys go to `problems`. Places are `name:line:col`, or `name` alone when
/// `with_lines` is false.
std::shared_ptr<YamlValue> parse_yaml(const std::string& text, const std::string& name, bool with_lines,
                                      const YamlLimits& limits, Problems& problems);

/// The value as YAML text that parses to the same value.
std::string emit_yaml(const YamlValue& value);

}  // namespace mpeft::config
