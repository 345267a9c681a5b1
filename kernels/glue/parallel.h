#pragma once

#include <cstdint>
#include <functional>

namespace mpeft::ops {

/// Runs body(begin, end) over pieces of [0, n) on LibTorch's threads, for the kernels, which do not know it. Which
/// piece runs on which thread must not matter to the result. Exceptions of the body reach the caller. Serial inside
/// another parallel region.
void at_parallel_for(int64_t n, const std::function<void(int64_t, int64_t)>& body);

}  // namespace mpeft::ops
