#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace mpeft::config {

/// Collects `file:line:col: key: message` lines; all problems of a run of checks are thrown at once.
class Problems {
 public:
  void add(std::string message) { messages_.push_back(std::move(message)); }
  bool empty() const { return messages_.empty(); }
  const std::vector<std::string>& messages() const { return messages_; }
  /// Throws ConfigError with one line per problem when there is any.
  void throw_if_any() const;

 private:
  std::vector<std::string> messages_;
};

/// A value of a YAML file that knows its place, reports what is wrong with it and remembers which of its keys were
/// read, so that the others can be reported. A Node that is not there (absent key) reads as its default. Copies share.
class Node {
 public:
  /// A node that is not there.
  Node();

  /// Parses a file. Syntax errors are thrown at once as ConfigError; everything found later goes to `problems`, which
  /// must outlive the node.
  static Node from_file(const std::string& path, Problems& problems);
  /// Parses text; `name` stands for the file in messages.
  static Node from_string(const std::string& yaml, const std::string& name, Problems& problems);

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

  /// Sets `a.b.c` to a YAML scalar or flow value, creating maps on the way (for --set); later reads see it.
  /// Throws ConfigError when `value` is not YAML or the path runs through a scalar.
  void set(const std::string& dotted_key, const std::string& value);

  /// "file:line:col" of this node (1-based), of its parent when absent.
  std::string place() const;
  /// Dotted key of this node from the root.
  std::string key() const;
  /// The node as YAML text.
  std::string dump() const;

 private:
  struct Impl;
  explicit Node(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace mpeft::config
