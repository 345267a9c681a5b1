#pragma once

#include <vector>

#include "metrics/spider/query.h"

namespace mpeft::metrics::spider {

/// The conditions at even places of the lists, where the script looks for them.
inline std::vector<const Condition*> conditions_of(std::initializer_list<const Conditions*> lists) {
  std::vector<const Condition*> conditions;
  for (const Conditions* items : lists) {
    for (size_t i = 0; i < items->size(); i += 2) conditions.push_back(&std::get<Condition>((*items)[i]));
  }
  return conditions;
}

/// How many connectives at odd places are OR.
inline int count_or(std::initializer_list<const Conditions*> lists) {
  int count = 0;
  for (const Conditions* items : lists) {
    for (size_t i = 1; i < items->size(); i += 2) {
      const auto* connective = std::get_if<Connective>(&(*items)[i]);
      if (connective != nullptr && *connective == Connective::kOr) ++count;
    }
  }
  return count;
}

}  // namespace mpeft::metrics::spider
