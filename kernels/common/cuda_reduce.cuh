#pragma once

#include <cstdint>

#include <cuda_runtime.h>

// defines: RowSum, launch_sum_rows

namespace mpeft::kernels {

/// out[i] = sum over rows of partial[row][i], i < columns; out null: nothing.
struct RowSum {
  const float* partial = nullptr;
  int64_t columns = 0;
  float* out = nullptr;
};

/// Up to three such sums in one launch, rows in a fixed order: 8 interleaved partial sums, then those.
cudaError_t launch_sum_rows(int64_t rows, cudaStream_t stream, RowSum first, RowSum second = {}, RowSum third = {});

}  // namespace mpeft::kernels
