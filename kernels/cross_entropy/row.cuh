#pragma once

#include <cstdint>

#include "kernels/common/cuda_math.cuh"
#include "kernels/common/cuda_vector.cuh"
#include "kernels/cross_entropy/cross_entropy_params.h"

// defines: kRowThreads, RowSpan, span_of, gradient_scale_of, gradient_of, write_ends, write_zeros

namespace mpeft::kernels {

inline constexpr int kRowThreads = 512;

/// A row cut for 16-byte accesses: `head` single elements, whole vectors, then `tail` single elements.
struct RowSpan {
  int head, vectors, tail;
};

template <typename scalar_t, int kVec>
__device__ __forceinline__ RowSpan span_of(const scalar_t* row, int64_t n) {
  if constexpr (kVec == 1) return {0, static_cast<int>(n), 0};
  const int past = static_cast<int>(reinterpret_cast<uintptr_t>(row) % 16 / sizeof(scalar_t));
  const int head = static_cast<int>(min(static_cast<int64_t>(past == 0 ? 0 : kVec - past), n));
  const int vectors = static_cast<int>((n - head) / kVec);
  return {head, vectors, static_cast<int>(n - head - static_cast<int64_t>(vectors) * kVec)};
}

/// The factor of a row's gradient: NaN for a label that is no column.
template <typename scalar_t>
__device__ __forceinline__ float gradient_scale_of(const CrossEntropyInputs<scalar_t>& p, int64_t label, float dloss) {
  return label >= 0 && label < p.n_valid ? dloss : __int_as_float(0x7fffffff);
}

/// x becomes scale (exp((x - largest) - log_sum) - [column = label]) for kVec columns from `column` on.
template <int kVec>
__device__ __forceinline__ void gradient_of(float (&x)[kVec], int64_t column, int64_t label, float largest,
                                            float log_sum, float scale) {
#pragma unroll
  for (int i = 0; i < kVec; ++i) x[i] = exp2_approx(((x[i] - largest) - log_sum) * kLog2e);
  if (label >= column && label < column + kVec) {
#pragma unroll
    for (int i = 0; i < kVec; ++i) x[i] -= column + i == label ? 1.f : 0.f;
  }
#pragma unroll
  for (int i = 0; i < kVec; ++i) x[i] *= scale;
}

/// The single elements before and behind a row's vectors.
template <typename scalar_t>
__device__ __forceinline__ void write_ends(scalar_t* to, const scalar_t* from, const RowSpan& span, int64_t n,
                                           int64_t label, float largest, float log_sum, float scale) {
  const int lane = threadIdx.x;
  if (lane >= span.head + span.tail) return;
  const int64_t column = lane < span.head ? lane : n - span.tail + (lane - span.head);
  float x[1] = {to_float(from[column])};
  gradient_of(x, column, label, largest, log_sum, scale);
  to[column] = from_float<scalar_t>(x[0]);
}

/// Columns [first, columns) have no gradient.
template <typename scalar_t>
__device__ __forceinline__ void write_zeros(scalar_t* to, int64_t first, int64_t columns) {
  for (int64_t j = first + threadIdx.x; j < columns; j += kRowThreads) to[j] = from_float<scalar_t>(0.f);
}

}  // namespace mpeft::kernels
