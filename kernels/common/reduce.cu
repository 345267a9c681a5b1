#include "kernels/common/cuda_reduce.cuh"

namespace mpeft::kernels {
namespace {

constexpr int kColumns = 32, kRowGroups = 8;

struct RowSums {
  RowSum sum[kMostRowSums];
  int64_t first_block[kMostRowSums];
  int n;
};

__global__ void __launch_bounds__(kColumns* kRowGroups) sum_rows_kernel(const RowSums sums, int64_t rows) {
  __shared__ float group_sum[kRowGroups][kColumns];
  const int64_t block = blockIdx.x;
  int which = 0;
  while (which + 1 < sums.n && block >= sums.first_block[which + 1]) ++which;
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

cudaError_t launch_sum_rows(int64_t rows, cudaStream_t stream, std::initializer_list<RowSum> wanted) {
  RowSums sums{};
  int64_t blocks = 0;
  for (const RowSum& sum : wanted) {
    if (sum.out == nullptr || sum.columns == 0) continue;
    if (sums.n == kMostRowSums) return cudaErrorInvalidValue;
    sums.sum[sums.n] = sum;
    sums.first_block[sums.n++] = blocks;
    blocks += (sum.columns + kColumns - 1) / kColumns;
  }
  if (blocks == 0) return cudaSuccess;
  if (blocks > INT32_MAX) return cudaErrorInvalidValue;
  sum_rows_kernel<<<static_cast<unsigned>(blocks), dim3(kColumns, kRowGroups), 0, stream>>>(sums, rows);
  return cudaGetLastError();
}

}  // namespace mpeft::kernels
