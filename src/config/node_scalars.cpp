#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "mpeft/config/node.h"
#include "mpeft/core/strings.h"

#include "config/node_impl.h"
#include "config/yaml_value.h"

namespace mpeft::config {
namespace {

// Whole text as a number, or nothing. from_chars knows no leading '+'.
template <typename T>
std::optional<T> parse_number(std::string_view text) {
  if (text.size() > 1 && text.front() == '+' && text[1] != '-') text.remove_prefix(1);
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string integer_wanted(int64_t low) {
  if (low == 1) return "expected a positive integer";
  if (low == 0) return "expected an integer of 0 or more";
  return "expected an integer";
}

template <typename T>
std::string range_text(T low, T high, T no_low, T no_high) {
  if (high >= no_high) return str("must be at least ", low);
  if (low <= no_low) return str("must be at most ", high);
  return str("must be between ", low, " and ", high);
}

}  // namespace

std::string describe(const YamlValue& value) {
  switch (value.kind) {
    case YamlValue::Kind::kNull:
      return "null";
    case YamlValue::Kind::kList:
      return "a list";
    case YamlValue::Kind::kMap:
      return "a map";
    case YamlValue::Kind::kScalar:
      break;
  }
  constexpr size_t kShown = 80;
  return "'" + (value.scalar.size() > kShown ? to_valid_utf8(value.scalar.substr(0, kShown)) + "…" : value.scalar) +
         "'";
}

std::string Node::as_string(const std::string& fallback) const {
  if (!is_present() || is_null()) return fallback;
  if (!is_scalar()) {
    problem("expected a text, got " + describe(*impl_->value));
    return fallback;
  }
  return impl_->value->scalar;
}

int64_t Node::as_int(int64_t fallback) const {
  constexpr auto kLow = std::numeric_limits<int64_t>::min(), kHigh = std::numeric_limits<int64_t>::max();
  return as_int_in(fallback, kLow, kHigh);
}

int64_t Node::as_int_in(int64_t fallback, int64_t low, int64_t high) const {
  if (!is_present()) return fallback;
  const auto value = is_scalar() ? parse_number<int64_t>(impl_->value->scalar) : std::nullopt;
  if (!value) {
    problem(integer_wanted(low) + ", got " + describe(*impl_->value));
    return fallback;
  }
  if (*value < low || *value > high) {
    if (high == std::numeric_limits<int64_t>::max() && (low == 0 || low == 1)) {
      problem(integer_wanted(low) + ", got " + describe(*impl_->value));
    } else {
      problem(str(range_text(low, high, std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()),
                  ", got ", *value));
    }
    return fallback;
  }
  return *value;
}

double Node::as_double(double fallback) const {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  return as_double_in(fallback, -kInf, kInf);
}

double Node::as_double_in(double fallback, double low, double high) const {
  if (!is_present()) return fallback;
  const auto value = is_scalar() ? parse_number<double>(impl_->value->scalar) : std::nullopt;
  if (!value || !std::isfinite(*value)) {
    problem("expected a number, got " + describe(*impl_->value));
    return fallback;
  }
  if (*value < low || *value > high) {
    constexpr double kInf = std::numeric_limits<double>::infinity();
    problem(str(range_text(low, high, -kInf, kInf), ", got ", impl_->value->scalar));
    return fallback;
  }
  return *value;
}

bool Node::as_bool(bool fallback) const {
  if (!is_present()) return fallback;
  if (is_scalar()) {
    const std::string text = to_lower(impl_->value->scalar);
    if (text == "true" || text == "yes" || text == "on") return true;
    if (text == "false" || text == "no" || text == "off") return false;
  }
  problem("expected true or false, got " + describe(*impl_->value));
  return fallback;
}

std::vector<std::string> Node::as_strings(const std::vector<std::string>& fallback) const {
  if (!is_present() || is_null()) return fallback;
  if (is_scalar()) return {impl_->value->scalar};
  if (!is_list()) {
    problem("expected a text or a list of texts, got " + describe(*impl_->value));
    return fallback;
  }
  std::vector<std::string> texts;
  for (const Node& item : items()) {
    if (item.is_scalar()) {
      texts.push_back(item.as_string());
    } else {
      item.problem("expected a text, got " + describe(*item.impl_->value));
    }
  }
  return texts;
}

std::string Node::as_one_of(const std::string& fallback, const std::vector<std::string>& allowed) const {
  if (!is_present()) return fallback;
  if (is_scalar() && std::find(allowed.begin(), allowed.end(), impl_->value->scalar) != allowed.end()) {
    return impl_->value->scalar;
  }
  const std::string hint = is_scalar() ? did_you_mean(impl_->value->scalar, allowed) : "";
  problem("expected one of " + join(allowed, ", ") + ", got " + describe(*impl_->value) + hint);
  return fallback;
}

}  // namespace mpeft::config
