#include "metrics/spider/parser.h"

#include <algorithm>
#include <unordered_map>

#include "mpeft/core/strings.h"

#include "metrics/spider/sql_error.h"
#include "metrics/spider/sql_tokens.h"

namespace mpeft::metrics::spider {
namespace {

constexpr std::array<std::string_view, 9> kClauseWords = {"select", "from",      "where", "group", "order",
                                                          "limit",  "intersect", "union", "except"};
constexpr std::array<std::string_view, 3> kJoinWords = {"join", "on", "as"};

template <size_t n>
int index_in(const std::array<std::string_view, n>& words, std::string_view word) {
  const auto found = std::find(words.begin(), words.end(), word);
  return found == words.end() ? -1 : static_cast<int>(found - words.begin());
}

// The name of a table or an alias, to the word that it stands for.
using Aliases = std::unordered_map<std::string, std::string>;

Aliases find_aliases(const std::vector<std::string>& words, const Schema& schema) {
  Aliases aliases;
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i] != "as") continue;
    if (i + 1 == words.size()) throw SqlError("nothing after 'as'");
    aliases[words[i + 1]] = i == 0 ? words.back() : words[i - 1];  // Python's words[-1]
  }
  for (const auto& table : schema.tables()) {
    if (aliases.count(table.name) > 0) throw SqlError("the alias '" + table.name + "' is the name of a table");
  }
  for (const auto& table : schema.tables()) aliases[table.name] = table.name;
  return aliases;
}

/// Recursive descent over the words from `next_` to `end_`, one method a rule of the script.
class Parser {
 public:
  Parser(const std::vector<std::string>& words, const Schema& schema)
      : words_(words), end_(words.size()), schema_(schema), aliases_(find_aliases(words, schema)) {}

  QueryPtr query() {
    if (++depth_ > kMaxDepth) throw SqlError(str("queries nested deeper than ", kMaxDepth));
    auto result = std::make_shared<Query>();
    const size_t start = next_;
    const bool in_parentheses = skip("(");
    const size_t select = next_;
    next_ = start;
    const auto tables = from(*result);  // first, since columns without a table are looked for in these
    const size_t after_from = next_;
    next_ = select;
    select_list(*result, tables);
    next_ = after_from;
    if (skip("where")) result->where = conditions(tables);
    group_by(*result, tables);
    if (skip("having")) result->having = conditions(tables);
    order_by(*result, tables);
    limit(*result);
    skip_semicolons();
    if (in_parentheses) expect(")");
    skip_semicolons();
    if (skip("intersect")) {
      result->intersect.query = query();
    } else if (skip("union")) {
      result->union_with.query = query();
    } else if (skip("except")) {
      result->except.query = query();
    }
    --depth_;
    return result;
  }

 private:
  using Tables = std::vector<std::string>;

  bool at_end() const { return next_ >= end_; }
  bool at(std::string_view word) const { return !at_end() && words_[next_] == word; }
  const std::string& word() const {
    if (at_end()) throw SqlError("ends too early");
    return words_[next_];
  }
  bool skip(std::string_view expected) {
    const bool is_there = at(expected);
    if (is_there) ++next_;
    return is_there;
  }
  void expect(std::string_view expected) {
    if (word() != expected) throw SqlError(str("expected '", expected, "' before '", word(), "'"));
    ++next_;
  }
  void skip_semicolons() {
    while (skip(";")) {
    }
  }
  bool at_clause() const { return !at_end() && index_in(kClauseWords, words_[next_]) >= 0; }
  bool at_clause_or_close() const { return at_clause() || at(")") || at(";"); }
  bool at_join_word() const { return !at_end() && index_in(kJoinWords, words_[next_]) >= 0; }

  const std::string& table_of(const std::string& name) const {
    const auto found = aliases_.find(name);
    if (found == aliases_.end()) throw SqlError("no table or alias '" + name + "'");
    return found->second;
  }
  const std::string& id_of(const std::string& key) const {
    const std::string* id = schema_.id_of(key);
    if (id == nullptr) throw SqlError("no table or column '" + key + "'");
    return *id;
  }

  std::string column(const Tables& tables) {
    const std::string name = word();
    ++next_;
    if (name == "*") return id_of(name);
    if (const size_t dot = name.find('.'); dot != std::string::npos) {
      if (name.find('.', dot + 1) != std::string::npos) throw SqlError("two dots in '" + name + "'");
      return id_of(table_of(name.substr(0, dot)) + name.substr(dot));
    }
    if (tables.empty()) throw SqlError("no table for column '" + name + "'");
    for (const std::string& alias : tables) {
      const std::string& table = table_of(alias);
      if (!schema_.has_table(table)) throw SqlError("no table '" + table + "'");
      if (schema_.has_column(table, name)) return id_of(table + "." + name);
    }
    throw SqlError("no column '" + name + "' in " + join(tables, ", "));
  }

  ColumnUnit column_unit(const Tables& tables) {
    ColumnUnit unit;
    const bool in_parentheses = skip("(");
    if (const int aggregate = index_in(kAggregates, word()); aggregate >= 0) {
      unit.aggregate = aggregate;
      ++next_;
      expect("(");
      unit.distinct = skip("distinct");
      unit.column = column(tables);
      expect(")");
      return unit;  // the script forgets the outer parenthesis here
    }
    unit.distinct = skip("distinct");
    unit.column = column(tables);
    if (in_parentheses) expect(")");
    return unit;
  }

  ValueUnit value_unit(const Tables& tables) {
    ValueUnit unit;
    const bool in_parentheses = skip("(");
    word();
    unit.left = column_unit(tables);
    if (const int op = at_end() ? -1 : index_in(kUnitOperators, word()); op >= 0) {
      unit.op = op;
      ++next_;
      unit.right = column_unit(tables);
    }
    if (in_parentheses) expect(")");
    return unit;
  }

  Value value(const Tables& tables) {
    const size_t start = next_;
    const bool in_parentheses = skip("(");
    Value result;
    if (word() == "select") {
      result = Subquery{query()};
    } else if (word().find('"') != std::string::npos) {
      result = word();
      ++next_;
    } else if (const auto number = python_float(word())) {
      result = *number;
      ++next_;
    } else {
      size_t stop = next_;
      while (stop < end_ && words_[stop] != "," && words_[stop] != ")" && words_[stop] != "and" &&
             index_in(kClauseWords, words_[stop]) < 0 && index_in(kJoinWords, words_[stop]) < 0) {
        ++stop;
      }
      // The script looks at these words alone, from before the parenthesis, and skips what it did not use of them.
      const size_t end = std::exchange(end_, stop);
      next_ = start;
      result = column_unit(tables);
      end_ = end;
      next_ = stop;
    }
    if (in_parentheses) expect(")");
    return result;
  }

  Conditions conditions(const Tables& tables) {
    Conditions items;
    while (!at_end()) {
      Condition condition;
      condition.operand = value_unit(tables);
      word();
      condition.negated = skip("not");
      condition.op = index_in(kConditionOperators, word());
      if (condition.op < 0) throw SqlError("'" + word() + "' is no comparison");
      ++next_;
      condition.first = value(tables);
      if (condition.op == kBetween) {
        expect("and");
        condition.second = value(tables);
      }
      items.emplace_back(std::move(condition));
      if (at_clause_or_close() || at_join_word()) break;
      if (skip("and")) {
        items.emplace_back(Connective::kAnd);
      } else if (skip("or")) {
        items.emplace_back(Connective::kOr);
      }
    }
    return items;
  }

  Tables from(Query& query) {
    while (!at_end() && words_[next_] != "from") ++next_;
    if (at_end()) throw SqlError("no 'from'");
    ++next_;
    Tables tables;
    while (!at_end()) {
      const bool in_parentheses = skip("(");
      if (word() == "select") {
        query.tables.emplace_back(Subquery{this->query()});
      } else {
        skip("join");
        const std::string table = table_of(word());
        ++next_;
        if (skip("as")) ++next_;
        query.tables.emplace_back(id_of(table));
        tables.push_back(table);
      }
      if (skip("on")) {
        Conditions more = conditions(tables);
        if (!query.join_conditions.empty()) query.join_conditions.emplace_back(Connective::kAnd);
        std::move(more.begin(), more.end(), std::back_inserter(query.join_conditions));
      }
      if (in_parentheses) expect(")");
      if (at_clause_or_close()) break;
    }
    return tables;
  }

  void select_list(Query& query, const Tables& tables) {
    expect("select");
    query.distinct = skip("distinct");
    while (!at_end() && !at_clause()) {
      SelectItem item;
      if (const int aggregate = index_in(kAggregates, word()); aggregate >= 0) {
        item.aggregate = aggregate;
        ++next_;
      }
      item.value = value_unit(tables);
      query.select.push_back(std::move(item));
      skip(",");
    }
  }

  void group_by(Query& query, const Tables& tables) {
    if (!skip("group")) return;
    expect("by");
    while (!at_end() && !at_clause_or_close()) {
      query.group_by.push_back(column_unit(tables));
      if (!skip(",")) break;
    }
  }

  void order_by(Query& query, const Tables& tables) {
    if (!skip("order")) return;
    expect("by");
    query.order_by.emplace();
    while (!at_end() && !at_clause_or_close()) {
      query.order_by->values.push_back(value_unit(tables));
      if (at("desc") || at("asc")) {
        query.order_by->descending = word() == "desc";
        ++next_;
      }
      if (!skip(",")) break;
    }
  }

  void limit(Query& query) {
    if (!skip("limit")) return;
    word();
    ++next_;
    query.limit = true;
  }

  const std::vector<std::string>& words_;
  size_t next_ = 0;
  size_t end_;
  const Schema& schema_;
  const Aliases aliases_;
  int depth_ = 0;
};

void check_places(const Conditions& items) {
  for (size_t i = 0; i < items.size(); i += 2) {
    const auto* condition = std::get_if<Condition>(&items[i]);
    if (condition == nullptr) throw SqlError("conditions without a connective between them");
  }
}

// What the script's evaluation walks through: not the queries in FROM.
void check_places(const Query& query);

void check_places_below(const Conditions& items) {
  check_places(items);
  for (size_t i = 0; i < items.size(); i += 2) {
    const auto& condition = std::get<Condition>(items[i]);
    for (const Value* value : {&condition.first, &condition.second}) {
      if (const auto* subquery = std::get_if<Subquery>(value)) check_places(*subquery->query);
    }
  }
}

void check_places(const Query& query) {
  for (const Conditions* items : {&query.join_conditions, &query.where, &query.having}) check_places_below(*items);
  for (const Subquery* other : {&query.intersect, &query.union_with, &query.except}) {
    if (other->query) check_places(*other->query);
  }
}

}  // namespace

QueryPtr parse_sql(std::string_view text, const Schema& schema) {
  const auto words = tokenize_sql(text);
  QueryPtr query = Parser(words, schema).query();
  check_places(*query);
  return query;
}

}  // namespace mpeft::metrics::spider
