#include "kernels/common/cuda_reduce.cuh"

namespace mpeft::kernels {
namespace {

constexpr int kColumns = 32, kRowGroups = 8;

}  // namespace

__global__ void __launch_bounds__(kColumns* kRowGroups)
    sum_rows_kernel(const float* partial, int64_t rows, int64_t columns, float* out) {
  __shared__ float group_sum[kRowGroups][kColumns];
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kColumns + threadIdx.x;
  float sum = 0.f;
  if (column < columns) {
#pragma unroll 4
    for (int64_t row = threadIdx.y; row < rows; row += kRowGroups) sum += partial[row * columns + column];
  }
  group_sum[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || column >= columns) return;
#pragma unroll
  for (int group = 1; group < kRowGroups; ++group) sum += group_sum[group][threadIdx.x];
  out[column] = sum;
}

cudaError_t launch_sum_rows(const float* partial, int64_t rows, int64_t columns, float* out, cudaStream_t stream) {
  if (columns == 0) return cudaSuccess;
  const int64_t blocks = (columns + kColumns - 1) / kColumns;
  if (blocks > INT32_MAX) return cudaErrorInvalidValue;
  sum_rows_kernel<<<static_cast<unsigned>(blocks), dim3(kColumns, kRowGroups), 0, stream>>>(partial, rows, columns,
                                                                                            out);
  return cudaGetLastError();
}

}  // namespace mpeft::kernels
