#pragma once

#include <array>
#include <vector>

#include "mpeft/metrics/metric.h"

namespace mpeft::metrics {

/// What BLEU is made of, over a corpus.
struct BleuParts {
  std::array<double, 4> precisions{};  ///< of n-grams of 1 … 4 tokens, clipped; 0 where there are none
  double brevity_penalty = 0;
  int64_t translation_length = 0;  ///< tokens of all predictions
  int64_t reference_length = 0;    ///< tokens of the shortest reference of each record
  double bleu = 0;
};

/// Papineni et al. (2002) over 13a tokens, without smoothing. 0 where the definition divides by zero: no token in the
/// predictions, or none in the references.
BleuParts bleu_of(const std::vector<Record>& records);

}  // namespace mpeft::metrics
