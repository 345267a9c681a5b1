#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

namespace mpeft::metrics {

/// One of the two sequences of a longest common subsequence, prepared for many comparisons.
class LcsColumns {
 public:
  explicit LcsColumns(std::span<const uint32_t> tokens);

  /// Length of the longest common subsequence with `rows`.
  size_t length(std::span<const uint32_t> rows) const;

  /// The places in `rows` of one longest common subsequence, ascending: the one found by walking the table of lengths
  /// from its end, where both neighbours are equal to the shorter `rows`. Throws DataError when the table is too large.
  std::vector<size_t> positions(std::span<const uint32_t> rows) const;

 private:
  using Bits = std::vector<uint64_t>;
  void advance(uint32_t token, Bits& flat, Bits& scratch) const;

  size_t n_ = 0;
  std::unordered_map<uint32_t, std::vector<uint32_t>> places_;  // of each token, ascending
};

}  // namespace mpeft::metrics
