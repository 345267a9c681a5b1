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
  /// Where a token stands: its columns, ascending, and as bits too when it has more of them than there are words of
  /// bits.
  struct Places {
    std::vector<uint32_t> columns;
    Bits mask;
  };
  void advance(uint32_t token, Bits& flat, Bits& scratch) const;

  size_t n_ = 0;
  std::unordered_map<uint32_t, Places> places_;
};

}  // namespace mpeft::metrics
