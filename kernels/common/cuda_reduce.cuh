#pragma once

#include <cstdint>

#include <cuda_runtime.h>

// defines: sum_rows_kernel, launch_sum_rows

namespace mpeft::kernels {

/// out[i] = sum over rows of partial[row][i], i < columns, rows in a fixed order: 8 interleaved partial sums, then
/// those.
__global__ void sum_rows_kernel(const float* partial, int64_t rows, int64_t columns, float* out);

cudaError_t launch_sum_rows(const float* partial, int64_t rows, int64_t columns, float* out, cudaStream_t stream);

}  // namespace mpeft::kernels
