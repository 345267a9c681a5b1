#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace mpeft::config {

struct YamlValue;

/// Collects `file:line:col: key: message` lines; all problems of a run of checks are thrown at once.
class Problems {
 public:
  void add(std::string message) { messages_.push_back(std::move(message)); }
  bool empty() const { return messages_.empty(); }
  const std::vector<std::string>& messages() const { return messages_; }
  /// Throws ConfigError with one line per problem when there is any: those with a place in the order of the file.
  void throw_if_any() const;

 private:
  std::vector<std::string> messages_;
};

/// How large a YAML text may be; the defaults are those of configurations.
struct YamlLimits {
  uint64_t max_bytes = uint64_t{1} << 20;
  int64_t max_values = 100'000;  ///< aliases expanded
};

/// A value of a YAML file that knows its place, reports what is wrong with it and remembers which of its keys were
/// read, so that the others can be reported. A Node that is not there (absent key) reads as its default. Copies share.
class Node {
 public:
  /// A node that is not there.
  Node();

  /// Parses a file of at most 1 MiB: one document, at most 64 levels deep and 100,000 values with its aliases expanded;
  /// a key that a map holds twice is a problem. Syntax errors are thrown at once as ConfigError; everything found later
  /// goes to `problems`, which must outlive the node.
  static Node from_file(const std::string& path, Problems& problems);
  /// Parses text; `name` stands for the file in messages. Other limits than the defaults are for data.
  static Node from_string(const std::string& yaml, const std::string& name, Problems& problems,
                          const YamlLimits& limits = {});

  bool is_present() const;
  bool is_null() const;
  bool is_map() const;
  bool is_list() const;
  bool is_scalar() const;

  /// The value of a key of a map, marked as read; absent keys give an absent node. Not a map: a problem, absent node.
  Node operator[](const std::string& key) const;
  /// Keys of a map in the order of the file.
  std::vector<std::string> keys() const;
  /// Items of a list.
  std::vector<Node> items() const;

  /// The scalar, or `fallback` when absent. What cannot be read as T is a problem ("expected a positive integer, got
  /// '4x'") and gives `fallback`.
  std::string as_string(const std::string& fallback = "") const;
  int64_t as_int(int64_t fallback) const;
  double as_double(double fallback) const;
  bool as_bool(bool fallback) const;
  std::vector<std::string> as_strings(const std::vector<std::string>& fallback = {}) const;
  /// As as_int and as_double, with a problem when outside [low, high].
  int64_t as_int_in(int64_t fallback, int64_t low, int64_t high) const;
  double as_double_in(double fallback, double low, double high) const;
  /// One of `allowed`, else a problem with a suggestion.
  std::string as_one_of(const std::string& fallback, const std::vector<std::string>& allowed) const;

  /// Adds a problem at this node's place, under its dotted key.
  void problem(const std::string& message) const;
  /// Adds a problem for each key of this map (and of the maps below it that were read) that nobody asked for.
  void report_unknown_keys() const;

  /// Sets `a.b.c` to a YAML scalar or flow value, creating maps on the way (for --set); later reads see it, and
  /// messages give `origin` as the place. Throws ConfigError when `value` is not YAML or the path runs through a scalar
  /// or a list.
  void set(const std::string& dotted_key, const std::string& value, const std::string& origin = "--set");
  /// As set, the value taken as it is, not as YAML (for flags that hold a path or a name).
  void set_text(const std::string& dotted_key, const std::string& text, const std::string& origin);

  /// The same values with a list of problems that lives as long as the nodes do: for a section that is read later.
  Node detached() const;
  /// The same values, their problems added to `problems`, which must outlive the node.
  Node with_problems(Problems& problems) const;

  /// "file:line:col" of this node (1-based), of its parent when absent; the flag for a value from the command line.
  std::string place() const;
  /// Dotted key of this node from the root.
  std::string key() const;
  /// The node as YAML text.
  std::string dump() const;

 private:
  struct Impl;
  explicit Node(std::shared_ptr<const Impl> impl);
  void set_value(const std::string& dotted_key, std::shared_ptr<YamlValue> value, const std::string& origin);
  std::shared_ptr<const Impl> impl_;
};

}  // namespace mpeft::config
