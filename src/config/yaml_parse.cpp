#include <map>
#include <sstream>

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include "mpeft/config/node.h"
#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

#include "config/yaml_value.h"

namespace mpeft::config {
namespace {

using Kind = YamlValue::Kind;
using ValuePtr = std::shared_ptr<YamlValue>;

constexpr size_t kMaxDepth = 64;

// Builds the tree from the parser's events, so that limits hold while parsing and not after.
class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(std::string name, bool with_lines, int64_t max_values, Problems& problems)
      : name_(std::move(name)), with_lines_(with_lines), max_values_(max_values), problems_(problems) {}

  const ValuePtr& root() const { return root_; }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { add(make(Kind::kNull, mark), anchor, mark); }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    const bool plain = tag == "?" || tag.empty();
    const bool null = plain && (value.empty() || value == "~" || value == "null" || value == "Null" || value == "NULL");
    auto made = make(null ? Kind::kNull : Kind::kScalar, mark);
    if (!null) made->scalar = value;
    made->quoted = !plain;
    add(std::move(made), anchor, mark);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto target = anchors_.find(anchor);
    if (target == anchors_.end()) fail(mark, "an alias of a value that contains it");
    add(copy(*target->second, mark), 0, mark);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(Kind::kList, mark, anchor);
  }
  void OnSequenceEnd() override { close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(Kind::kMap, mark, anchor);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Open {
    ValuePtr value;
    YAML::anchor_t anchor;
    ValuePtr key;  // of a map whose value is still to come
  };

  std::string place(const YAML::Mark& mark) const {
    return with_lines_ ? str(name_, ":", mark.line + 1, ":", mark.column + 1) : name_;
  }

  [[noreturn]] void fail(const YAML::Mark& mark, const std::string& message) const {
    throw ConfigError(place(mark) + ": " + message);
  }

  ValuePtr make(Kind kind, const YAML::Mark& mark) {
    count(mark);
    auto value = std::make_shared<YamlValue>();
    value->kind = kind;
    value->place = place(mark);
    return value;
  }

  void count(const YAML::Mark& mark) {
    if (++n_values_ > max_values_) {
      fail(mark, "the file holds more than " + with_thousands(max_values_) + " values, aliases expanded");
    }
  }

  // An alias is a copy of its own, counted value by value: a bomb of aliases ends at the limit.
  ValuePtr copy(const YamlValue& value, const YAML::Mark& mark) {
    count(mark);
    auto made = std::make_shared<YamlValue>(value);
    for (auto& item : made->items) item = copy(*item, mark);
    for (auto& entry : made->entries) entry.second = copy(*entry.second, mark);
    return made;
  }

  void open(Kind kind, const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (open_.size() >= kMaxDepth) fail(mark, str("nested deeper than ", kMaxDepth, " levels"));
    open_.push_back({make(kind, mark), anchor, nullptr});
    marks_.push_back(mark);
  }

  void close() {
    const Open closed = open_.back();
    const YAML::Mark mark = marks_.back();
    open_.pop_back();
    marks_.pop_back();
    add(closed.value, closed.anchor, mark);
  }

  void add(ValuePtr value, YAML::anchor_t anchor, const YAML::Mark& mark) {
    if (anchor != 0) anchors_[anchor] = value;
    if (open_.empty()) {
      root_ = std::move(value);
      return;
    }
    Open& parent = open_.back();
    if (parent.value->kind == Kind::kList) {
      parent.value->items.push_back(std::move(value));
    } else if (parent.key == nullptr) {
      if (value->kind == Kind::kList || value->kind == Kind::kMap) fail(mark, "a key must be a word or a number");
      if (value->kind == Kind::kNull) value->scalar = "null";
      parent.key = std::move(value);
    } else {
      const std::string& key = parent.key->scalar;
      if (const auto first = parent.value->find(key)) {
        problems_.add(str(parent.key->place, ": ", key, ": duplicate key (its first value is at ", first->place, ")"));
      } else {
        parent.value->entries.emplace_back(key, std::move(value));
      }
      parent.key = nullptr;
    }
  }

  std::string name_;
  bool with_lines_;
  int64_t max_values_;
  Problems& problems_;
  ValuePtr root_;
  std::vector<Open> open_;
  std::vector<YAML::Mark> marks_;
  std::map<YAML::anchor_t, ValuePtr> anchors_;
  int64_t n_values_ = 0;
};

}  // namespace

ValuePtr YamlValue::find(const std::string& key) const {
  for (const auto& [name, value] : entries) {
    if (name == key) return value;
  }
  return nullptr;
}

ValuePtr parse_yaml(const std::string& text, const std::string& name, bool with_lines, const YamlLimits& limits,
                    Problems& problems) {
  if (!is_valid_utf8(text)) throw ConfigError(name + ": not UTF-8 text");
  if (text.find('\0') != std::string::npos) throw ConfigError(name + ": not a text file (it holds a NUL byte)");
  TreeBuilder builder(name, with_lines, limits.max_values, problems);
  try {
    std::istringstream stream(text);
    YAML::Parser parser(stream);
    if (parser.HandleNextDocument(builder)) {
      TreeBuilder second(name, with_lines, limits.max_values, problems);
      if (parser.HandleNextDocument(second)) throw ConfigError(name + ": more than one YAML document ('---')");
    }
  } catch (const YAML::Exception& e) {
    const std::string at =
        with_lines && !e.mark.is_null() ? str(name, ":", e.mark.line + 1, ":", e.mark.column + 1) : name;
    throw ConfigError(at + ": not valid YAML: " + e.msg);
  }
  if (builder.root() != nullptr) return builder.root();
  auto empty = std::make_shared<YamlValue>();
  empty->place = with_lines ? name + ":1:1" : name;
  return empty;
}

}  // namespace mpeft::config
