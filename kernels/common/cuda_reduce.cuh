#pragma once

#include <cstdint>
#include <initializer_list>

#include <cuda_runtime.h>

// defines: RowSum, kMostRowSums, launch_sum_rows

namespace mpeft::kernels {

/// out[i] = sum over rows of partial[row][i], i < columns; out null: nothing.
struct RowSum {
  const float* partial = nullptr;
  int64_t columns = 0;
  float* out = nullptr;
};

/// At most kMostRowSums such sums in one launch, rows in a fixed order: 8 interleaved partial sums, then those.
inline constexpr int kMostRowSums = 9;
cudaError_t launch_sum_rows(int64_t rows, cudaStream_t stream, std::initializer_list<RowSum> sums);

}  // namespace mpeft::kernels
