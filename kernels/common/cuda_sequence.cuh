#pragma once

#include <cstdint>

// defines: device_row_length

namespace mpeft::kernels {

/// row_length of sequence.h, on the device.
__device__ __forceinline__ int64_t device_row_length(const int32_t* lengths, int64_t row, int64_t seqlen) {
  if (lengths == nullptr) return seqlen;
  const int64_t length = lengths[row];
  return length < 0 ? 0 : (length > seqlen ? seqlen : length);
}

}  // namespace mpeft::kernels
