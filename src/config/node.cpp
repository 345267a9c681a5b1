#include "mpeft/config/node.h"

#include <algorithm>
#include <charconv>

#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"
#include "mpeft/core/strings.h"

#include "config/node_impl.h"
#include "config/yaml_value.h"

namespace mpeft::config {
namespace {

using Kind = YamlValue::Kind;

std::shared_ptr<YamlValue> parse_value(const std::string& text, const std::string& origin) {
  Problems problems;
  auto value = parse_yaml(text, origin, false, YamlLimits(), problems);
  problems.throw_if_any();
  return value;
}

void report_unknown(const YamlValue& map, const std::string& prefix, Problems& problems) {
  const std::vector<std::string> known(map.asked.begin(), map.asked.end());
  for (const auto& [key, value] : map.entries) {
    const std::string dotted = prefix.empty() ? key : prefix + "." + key;
    if (map.asked.count(key) == 0) {
      problems.add(value->place + ": " + dotted + ": unknown key" + did_you_mean(key, known));
    } else if (value->kind == Kind::kMap && value->was_read) {
      report_unknown(*value, dotted, problems);
    } else if (value->kind == Kind::kList) {
      for (size_t i = 0; i < value->items.size(); ++i) {
        const auto& item = *value->items[i];
        if (item.kind == Kind::kMap && item.was_read) report_unknown(item, str(dotted, "[", i, "]"), problems);
      }
    }
  }
}

// Of a message that starts with "file:line:col: "; behind all others where it does not.
std::pair<int64_t, int64_t> line_and_column(const std::string& message) {
  constexpr std::pair<int64_t, int64_t> kNone{INT64_MAX, INT64_MAX};
  const auto parts = split(message.substr(0, message.find(": ")), ':');
  if (parts.size() < 3) return kNone;
  std::pair<int64_t, int64_t> place;
  for (const auto& [text, value] :
       {std::pair{&parts[parts.size() - 2], &place.first}, std::pair{&parts.back(), &place.second}}) {
    const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), *value);
    if (error != std::errc() || end != text->data() + text->size()) return kNone;
  }
  return place;
}

}  // namespace

void Problems::throw_if_any() const {
  if (messages_.empty()) return;
  // As one reads the file; what has no place in one (flags) keeps its order, behind.
  auto sorted = messages_;
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const std::string& a, const std::string& b) { return line_and_column(a) < line_and_column(b); });
  throw ConfigError(join(sorted, "\n"));
}

Node::Node() : impl_(std::make_shared<Impl>()) {}
Node::Node(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

Node Node::from_file(const std::string& path, Problems& problems) {
  std::string text;
  try {
    text = fs::read_file(path, YamlLimits().max_bytes);
  } catch (const DataError& e) {
    throw ConfigError(e.what());  // a configuration that cannot be read is a usage error, not a data error
  }
  return from_string(text, path, problems);
}

Node Node::from_string(const std::string& yaml, const std::string& name, Problems& problems, const YamlLimits& limits) {
  if (yaml.size() > limits.max_bytes)
    throw ConfigError(str(name, ": larger than the limit of ", limits.max_bytes >> 20, " MiB"));
  auto impl = std::make_shared<Impl>();
  impl->value = parse_yaml(yaml, name, true, limits, problems);
  impl->problems = &problems;
  return Node(std::move(impl));
}

bool Node::is_present() const { return impl_->value != nullptr; }
bool Node::is_null() const { return is_present() && impl_->value->kind == Kind::kNull; }
bool Node::is_map() const { return is_present() && impl_->value->kind == Kind::kMap; }
bool Node::is_list() const { return is_present() && impl_->value->kind == Kind::kList; }
bool Node::is_scalar() const { return is_present() && impl_->value->kind == Kind::kScalar; }

Node Node::operator[](const std::string& key) const {
  auto child = std::make_shared<Impl>();
  child->problems = impl_->problems;
  child->owned_problems = impl_->owned_problems;
  child->parent_place = place();
  child->key = impl_->key.empty() ? key : impl_->key + "." + key;
  if (is_map()) {
    impl_->value->asked.insert(key);
    impl_->value->was_read = true;
    child->value = impl_->value->find(key);
  } else if (is_present() && !is_null()) {
    // Each key that is asked of it would repeat the same problem.
    if (!impl_->value->was_read) problem("expected a map of keys, got " + describe(*impl_->value));
    impl_->value->was_read = true;
  }
  return Node(std::move(child));
}

std::vector<std::string> Node::keys() const {
  std::vector<std::string> names;
  if (!is_map()) return names;
  impl_->value->was_read = true;
  for (const auto& entry : impl_->value->entries) names.push_back(entry.first);
  return names;
}

std::vector<Node> Node::items() const {
  std::vector<Node> nodes;
  if (!is_list()) return nodes;
  for (size_t i = 0; i < impl_->value->items.size(); ++i) {
    auto child = std::make_shared<Impl>(*impl_);
    child->value = impl_->value->items[i];
    child->parent_place = place();
    child->key = str(impl_->key, "[", i, "]");
    nodes.push_back(Node(std::move(child)));
  }
  return nodes;
}

void Node::problem(const std::string& message) const {
  const std::string at = place();
  const std::string line = (at.empty() ? "" : at + ": ") + (impl_->key.empty() ? "" : impl_->key + ": ") + message;
  if (impl_->problems == nullptr) throw ConfigError(line);
  impl_->problems->add(line);
}

void Node::report_unknown_keys() const {
  if (is_map() && impl_->problems != nullptr) report_unknown(*impl_->value, impl_->key, *impl_->problems);
}

void Node::set_value(const std::string& dotted_key, std::shared_ptr<YamlValue> value, const std::string& origin) {
  if (!is_present()) throw ConfigError(origin + ": " + dotted_key + ": there is no configuration to set it in");
  auto map = impl_->value;
  const auto parts = split(dotted_key, '.');
  for (size_t i = 0; i < parts.size(); ++i) {
    if (trim(parts[i]).empty()) throw ConfigError(origin + ": '" + dotted_key + "' is not a key");
    if (map->kind == Kind::kNull) map->kind = Kind::kMap;
    if (map->kind != Kind::kMap) {
      const std::vector<std::string> path(parts.begin(), parts.begin() + static_cast<std::ptrdiff_t>(i));
      throw ConfigError(str(origin, ": ", dotted_key, ": '", join(path, "."), "' is ", describe(*map), ", not a map"));
    }
    auto child = map->find(parts[i]);
    if (child == nullptr) {
      child = std::make_shared<YamlValue>();
      child->place = origin;
      map->entries.emplace_back(parts[i], child);
    }
    map = child;
  }
  *map = *value;
  map->place = origin;
}

void Node::set(const std::string& dotted_key, const std::string& value, const std::string& origin) {
  set_value(dotted_key, parse_value(value, origin + " " + dotted_key), origin);
}

void Node::set_text(const std::string& dotted_key, const std::string& text, const std::string& origin) {
  auto value = std::make_shared<YamlValue>();
  value->kind = Kind::kScalar;
  value->scalar = text;
  value->place = origin;
  set_value(dotted_key, std::move(value), origin);
}

Node Node::detached() const {
  auto impl = std::make_shared<Impl>(*impl_);
  impl->owned_problems = std::make_shared<Problems>();
  impl->problems = impl->owned_problems.get();
  return Node(std::move(impl));
}

Node Node::with_problems(Problems& problems) const {
  auto impl = std::make_shared<Impl>(*impl_);
  impl->owned_problems.reset();
  impl->problems = &problems;
  return Node(std::move(impl));
}

std::string Node::place() const { return is_present() ? impl_->value->place : impl_->parent_place; }
std::string Node::key() const { return impl_->key; }
std::string Node::dump() const { return is_present() ? emit_yaml(*impl_->value) : ""; }

}  // namespace mpeft::config
