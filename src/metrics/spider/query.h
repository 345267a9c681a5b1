#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

/// A query as the official Spider script sees it. Names of columns and tables are ids of the schema ("__singer.age__",
/// "__singer__", "__all__"); operators are indices into the script's own lists, whose first entry ("none") is a word
/// that a query may write. Equality is the script's: the parts one by one, numbers as Python's floats.
namespace mpeft::metrics::spider {

inline constexpr std::array<std::string_view, 6> kAggregates = {"none", "max", "min", "count", "sum", "avg"};
inline constexpr std::array<std::string_view, 5> kUnitOperators = {"none", "-", "+", "*", "/"};
inline constexpr std::array<std::string_view, 12> kConditionOperators = {
    "not", "between", "=", ">", "<", ">=", "<=", "!=", "in", "like", "is", "exists"};
inline constexpr int kBetween = 1;
inline constexpr int kIn = 8;
inline constexpr int kLike = 9;

struct Query;
/// Shared, because a rebuilt query keeps the parts that did not change.
using QueryPtr = std::shared_ptr<const Query>;

/// `max(distinct t.c)`.
struct ColumnUnit {
  int aggregate = 0;  ///< index into kAggregates
  std::string column;
  std::optional<bool> distinct;  ///< nullopt: not looked at (after rebuild_columns)
  bool operator==(const ColumnUnit&) const = default;
};

/// `a` or `a - b`.
struct ValueUnit {
  int op = 0;  ///< index into kUnitOperators
  ColumnUnit left;
  std::optional<ColumnUnit> right;
  bool operator==(const ValueUnit&) const = default;
};

/// Compares the queries, not the pointers.
struct Subquery {
  QueryPtr query;
  bool operator==(const Subquery& other) const;
};

/// What a condition compares with: nothing, a number, a quoted text, a column, a query.
using Value = std::variant<std::monostate, double, std::string, ColumnUnit, Subquery>;

struct Condition {
  bool negated = false;
  int op = 0;  ///< index into kConditionOperators
  ValueUnit operand;
  Value first;
  Value second;  ///< of BETWEEN
  bool operator==(const Condition&) const = default;
};

enum class Connective { kAnd, kOr };

/// The script's flat list: conditions at even places and connectives at odd ones, as long as the query writes a
/// connective between its conditions; it need not, and then places shift.
using ConditionItem = std::variant<Condition, Connective>;
using Conditions = std::vector<ConditionItem>;

struct SelectItem {
  int aggregate = 0;
  ValueUnit value;
  bool operator==(const SelectItem&) const = default;
};

/// A table's id or a query in FROM.
using TableUnit = std::variant<Subquery, std::string>;

struct OrderBy {
  bool descending = false;
  std::vector<ValueUnit> values;
  bool operator==(const OrderBy&) const = default;
};

struct Query {
  std::optional<bool> distinct = false;
  std::vector<SelectItem> select;
  std::vector<TableUnit> tables;
  Conditions join_conditions;
  Conditions where;
  std::vector<ColumnUnit> group_by;
  Conditions having;
  std::optional<OrderBy> order_by;
  bool limit = false;  ///< the number is not looked at
  Subquery intersect, union_with, except;
  bool operator==(const Query&) const = default;
};

inline bool Subquery::operator==(const Subquery& other) const {
  if (!query || !other.query) return !query && !other.query;
  return *query == *other.query;
}

}  // namespace mpeft::metrics::spider
