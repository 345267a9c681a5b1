#pragma once

#include <cstdint>

// defines: Sequence, row_length

namespace mpeft::kernels {

/// A (batch, seqlen, n) tensor whose last axis is contiguous: a view into a wider row is fine.
template <typename scalar_t>
struct Sequence {
  scalar_t* data = nullptr;  ///< null: absent
  int64_t batch_stride = 0;  ///< elements
  int64_t time_stride = 0;   ///< elements
};

/// Steps of a row that are not padding: lengths[row] kept inside [0, seqlen], or seqlen when there are no lengths.
inline int64_t row_length(const int32_t* lengths, int64_t row, int64_t seqlen) {
  if (lengths == nullptr) return seqlen;
  const int64_t length = lengths[row];
  return length < 0 ? 0 : (length > seqlen ? seqlen : length);
}

}  // namespace mpeft::kernels
