#include "kernels/common/cuda_reduce.cuh"

namespace mpeft::kernels {
namespace {

constexpr int kColumns = 32, kRowGroups = 8;

struct RowSums {
  RowSum sum[3];
  int64_t first_block[3];
};

__global__ void __launch_bounds__(kColumns* kRowGroups) sum_rows_kernel(const RowSums sums, int64_t rows) {
  __shared__ float group_sum[kRowGroups][kColumns];
  const int64_t block = blockIdx.x;
  const int which = block >= sums.first_block[2] ? 2 : block >= sums.first_block[1] ? 1 : 0;
  const RowSum& s = sums.sum[which];
  const int64_t column = (block - sums.first_block[which]) * kColumns + threadIdx.x;
  float sum = 0.f;
  if (column < s.columns) {
#pragma unroll 4
    for (int64_t row = threadIdx.y; row < rows; row += kRowGroups) sum += s.partial[row * s.columns + column];
  }
  group_sum[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || column >= s.columns) return;
#pragma unroll
  for (int group = 1; group < kRowGroups; ++group) sum += group_sum[group][threadIdx.x];
  s.out[column] = sum;
}

}  // namespace

cudaError_t launch_sum_rows(int64_t rows, cudaStream_t stream, RowSum first, RowSum second, RowSum third) {
  RowSums sums{{first, second, third}, {0, 0, 0}};
  int64_t blocks = 0;
  for (int i = 0; i < 3; ++i) {
    if (sums.sum[i].out == nullptr) sums.sum[i].columns = 0;
    sums.first_block[i] = blocks;
    blocks += (sums.sum[i].columns + kColumns - 1) / kColumns;
  }
  if (blocks == 0) return cudaSuccess;
  if (blocks > INT32_MAX) return cudaErrorInvalidValue;
  sum_rows_kernel<<<static_cast<unsigned>(blocks), dim3(kColumns, kRowGroups), 0, stream>>>(sums, rows);
  return cudaGetLastError();
}

}  // namespace mpeft::kernels
