#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "mpeft/metrics/metric.h"

#include "metrics/unicode.h"

namespace mpeft::metrics {

struct RougeScore {
  double precision = 0;
  double recall = 0;
  double f = 0;  ///< their harmonic mean, 0 when both are
};

enum class RougeType { kUnigrams, kBigrams, kLcs, kSummaryLcs };

/// "rouge1", "rouge2", "rougeL" or "rougeLsum".
std::string rouge_name(RougeType type);

/// Words of `rouge_score`: runs of a-z and 0-9 of the lower-case text; with `stem`, Porter stems of those longer than
/// three.
std::vector<Text> rouge_tokens(std::string_view text, bool stem);

/// The score against the reference with the best F, the first of equals.
RougeScore rouge_of(const Record& record, RougeType type, bool stem);

}  // namespace mpeft::metrics
