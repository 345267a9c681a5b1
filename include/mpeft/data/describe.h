#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "mpeft/data/dataset.h"

namespace mpeft::data {

/// Sizes of a tokenised data set.
struct LengthStatistics {
  int64_t n_examples = 0;
  int64_t n_dropped = 0;
  int64_t n_tokens = 0;
  int64_t n_labels = 0;  ///< tokens that carry loss
  int64_t p50 = 0, p95 = 0, max = 0;  ///< tokens of an example
  struct Bucket {
    int64_t low = 0, high = 0;  ///< lengths in [low, high)
    int64_t count = 0;
  };
  std::vector<Bucket> histogram;
};

/// Throws nothing; zeros for an empty set.
LengthStatistics length_statistics(const TokenizedDataset& dataset);

/// The histogram as lines of text: "  128 - 191   1,204  ############".
std::vector<std::string> histogram_lines(const LengthStatistics& statistics);

}  // namespace mpeft::data
