#pragma once

#include <cstdint>
#include <initializer_list>

#include <cuda_runtime.h>

#include "kernels/common/cuda_vector.cuh"

// defines: RowSum, RowSums, plan_row_sums, add_every, sum_rows, launch_sum_rows

namespace mpeft::kernels {

/// out[i] = sum over rows of partial[row][i], i < columns; out null: nothing.
struct RowSum {
  const float* partial = nullptr;
  int64_t columns = 0;
  float* out = nullptr;
};

/// Several such sums that share the number of rows and one launch; rows in a fixed order: 8 interleaved partial sums,
/// then those.
struct RowSums {
  static constexpr int kMost = 9, kLanes = 32, kRowGroups = 8, kThreads = kLanes * kRowGroups;
  RowSum sum[kMost];
  int64_t first_block[kMost];
  bool vectors[kMost];  ///< four columns a thread
  int n = 0;
  int64_t rows = 0, blocks = 0;  ///< blocks of kThreads that sum_rows needs
};

/// Without those whose `out` is null. More than kMost are cut off.
inline RowSums plan_row_sums(int64_t rows, std::initializer_list<RowSum> wanted) {
  RowSums sums{};
  sums.rows = rows;
  for (const RowSum& sum : wanted) {
    if (sum.out == nullptr || sum.columns == 0 || sums.n == RowSums::kMost) continue;
    sums.sum[sums.n] = sum;
    sums.vectors[sums.n] = sum.columns % 4 == 0 && is_vector_aligned(sum.partial) && is_vector_aligned(sum.out);
    const int64_t columns = RowSums::kLanes * (sums.vectors[sums.n] ? 4 : 1);  // of a block
    sums.first_block[sums.n++] = sums.blocks;
    sums.blocks += (sum.columns + columns - 1) / columns;
  }
  return sums;
}

/// sum += of x those vectors first, first + every, ... below count, `pitch` floats from one to the next. kTogether of
/// them are loaded before the first is added: also the last few, which a loop would wait for one after another.
template <int kTogether, int kVec>
__device__ __forceinline__ void add_every(float (&sum)[kVec], const float* x, int64_t pitch, int64_t first,
                                          int64_t count, int every) {
  for (int64_t from = first; from < count; from += kTogether * every) {
    float vectors[kTogether][kVec] = {};
#pragma unroll
    for (int k = 0; k < kTogether; ++k) {
      if (from + k * every < count) load_floats(vectors[k], x + (from + k * every) * pitch);
    }
#pragma unroll
    for (int k = 0; k < kTogether; ++k) {
#pragma unroll
      for (int i = 0; i < kVec; ++i) sum[i] += vectors[k][i];
    }
  }
}

namespace detail {

/// kVec columns a thread.
template <int kVec>
__device__ __forceinline__ void sum_columns(const RowSum& s, int64_t rows, int64_t block) {
  __shared__ __align__(16) float group_sum[RowSums::kRowGroups][RowSums::kLanes][kVec];
  const int lane = threadIdx.x % RowSums::kLanes, group = threadIdx.x / RowSums::kLanes;
  const int64_t column = (block * RowSums::kLanes + lane) * kVec;
  float sum[kVec] = {};
  if (column < s.columns) {
    add_every<4>(sum, s.partial + column, s.columns, group, rows, RowSums::kRowGroups);
  }
  store_floats(group_sum[group][lane], sum);
  __syncthreads();
  if (group != 0 || column >= s.columns) return;
#pragma unroll
  for (int other = 1; other < RowSums::kRowGroups; ++other) {
#pragma unroll
    for (int i = 0; i < kVec; ++i) sum[i] += group_sum[other][lane][i];
  }
  store_floats(s.out + column, sum);
}

}  // namespace detail

/// The work of one of the blocks, all of whose threads call this.
__device__ __forceinline__ void sum_rows(const RowSums& sums, int64_t block) {
  int which = 0;
  while (which + 1 < sums.n && block >= sums.first_block[which + 1]) ++which;
  const int64_t own = block - sums.first_block[which];
  if (sums.vectors[which]) {
    detail::sum_columns<4>(sums.sum[which], sums.rows, own);
  } else {
    detail::sum_columns<1>(sums.sum[which], sums.rows, own);
  }
}

cudaError_t launch_sum_rows(int64_t rows, cudaStream_t stream, std::initializer_list<RowSum> wanted);

}  // namespace mpeft::kernels
