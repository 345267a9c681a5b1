#pragma once

#include <cstdint>
#include <functional>

// defines: ParallelFor, serial_for

namespace mpeft::kernels {

/// Calls body(begin, end) for disjoint ranges that together are [0, n), on any threads. The kernels never let a result
/// depend on where the ranges are cut.
using ParallelFor = std::function<void(int64_t n, const std::function<void(int64_t begin, int64_t end)>& body)>;

/// One range on the calling thread.
inline void serial_for(int64_t n, const std::function<void(int64_t, int64_t)>& body) {
  if (n > 0) body(0, n);
}

}  // namespace mpeft::kernels
