#pragma once

#include <array>
#include <string_view>

#include "metrics/spider/query.h"

namespace mpeft::metrics::spider {

enum class Hardness { kEasy, kMedium, kHard, kExtra };

/// "easy", "medium", "hard", "extra", in the order of Hardness.
inline constexpr std::array<std::string_view, 4> kHardnessNames = {"easy", "medium", "hard", "extra"};

/// The script's level of a gold query, as parsed: by the number of clauses, of queries within it, and of aggregates,
/// selected columns, conditions and groups.
Hardness hardness_of(const Query& query);

}  // namespace mpeft::metrics::spider
