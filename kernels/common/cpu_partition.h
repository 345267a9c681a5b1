#pragma once

#include <cstdint>
#include <optional>

#include "kernels/common/aligned_buffer.h"
#include "kernels/common/parallel.h"

// defines: for_each_task, allocate_if, sum_rows, n_parts
//
// How the CPU kernels cut their work: into parts that depend on the shape alone, whose partial sums are added in order.

namespace mpeft::kernels {

inline int64_t n_parts(int64_t size, int64_t part) { return (size + part - 1) / part; }

/// Calls task(i, scratch) for i in [0, n); the scratch (floats) is private to the running thread.
template <typename Task>
void for_each_task(const ParallelFor& parallel_for, int64_t n, int64_t scratch_size, const Task& task) {
  parallel_for(n, [&](int64_t begin, int64_t end) {
    const AlignedBuffer scratch(scratch_size);
    for (int64_t i = begin; i < end; ++i) task(i, scratch.data());
  });
}

/// A buffer for partial sums of a gradient that is wanted, else null.
inline float* allocate_if(bool wanted, int64_t n, std::optional<AlignedBuffer>& buffer) {
  return wanted ? buffer.emplace(n).data() : nullptr;
}

/// (n_rows, size) to (size): the sum over rows, in order. Nothing when `to` is null.
inline void sum_rows(const float* partial, int64_t n_rows, int64_t size, float* to, const ParallelFor& parallel_for) {
  if (to == nullptr) return;
  constexpr int64_t kColumns = 1024;
  parallel_for(n_parts(size, kColumns), [&](int64_t begin, int64_t end) {
    const int64_t first = begin * kColumns, last = end * kColumns < size ? end * kColumns : size;
    for (int64_t i = first; i < last; ++i) to[i] = 0.0f;
    for (int64_t row = 0; row < n_rows; ++row) {
      for (int64_t i = first; i < last; ++i) to[i] += partial[row * size + i];
    }
  });
}

}  // namespace mpeft::kernels
