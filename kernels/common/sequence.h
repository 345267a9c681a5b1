#pragma once

#include <cstdint>

namespace mpeft::kernels {

/// A (batch, seqlen, n) tensor whose last axis is contiguous: a view into a wider row is fine.
template <typename scalar_t>
struct Sequence {
  scalar_t* data = nullptr;  ///< null: absent
  int64_t batch_stride = 0;  ///< elements
  int64_t time_stride = 0;   ///< elements
};

}  // namespace mpeft::kernels
