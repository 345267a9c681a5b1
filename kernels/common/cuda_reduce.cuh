#pragma once

#include <cstdint>
#include <initializer_list>

#include <cuda_runtime.h>

// defines: RowSum, RowSums, plan_row_sums, sum_rows, launch_sum_rows

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
  static constexpr int kMost = 9, kColumns = 32, kRowGroups = 8, kThreads = kColumns * kRowGroups;
  RowSum sum[kMost];
  int64_t first_block[kMost];
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
    sums.first_block[sums.n++] = sums.blocks;
    sums.blocks += (sum.columns + RowSums::kColumns - 1) / RowSums::kColumns;
  }
  return sums;
}

/// The work of one of the blocks, all of whose threads call this.
__device__ __forceinline__ void sum_rows(const RowSums& sums, int64_t block) {
  __shared__ float group_sum[RowSums::kRowGroups][RowSums::kColumns];
  int which = 0;
  while (which + 1 < sums.n && block >= sums.first_block[which + 1]) ++which;
  const RowSum& s = sums.sum[which];
  const int lane = threadIdx.x % RowSums::kColumns, group = threadIdx.x / RowSums::kColumns;
  const int64_t column = (block - sums.first_block[which]) * RowSums::kColumns + lane;
  float sum = 0.f;
  if (column < s.columns) {
#pragma unroll 4
    for (int64_t row = group; row < sums.rows; row += RowSums::kRowGroups) sum += s.partial[row * s.columns + column];
  }
  group_sum[group][lane] = sum;
  __syncthreads();
  if (group != 0 || column >= s.columns) return;
#pragma unroll
  for (int other = 1; other < RowSums::kRowGroups; ++other) sum += group_sum[other][lane];
  s.out[column] = sum;
}

cudaError_t launch_sum_rows(int64_t rows, cudaStream_t stream, std::initializer_list<RowSum> wanted);

}  // namespace mpeft::kernels
