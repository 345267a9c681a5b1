#include "kernels/common/cuda_launch.cuh"
#include "kernels/common/cuda_reduce.cuh"

namespace mpeft::kernels {
namespace {

__global__ void __launch_bounds__(RowSums::kThreads) sum_rows_kernel(const RowSums sums) {
  wait_for_predecessor();
  sum_rows(sums, blockIdx.x);
}

}  // namespace

cudaError_t launch_sum_rows(int64_t rows, cudaStream_t stream, std::initializer_list<RowSum> wanted) {
  const RowSums sums = plan_row_sums(rows, wanted);
  if (sums.blocks == 0) return cudaSuccess;
  if (sums.blocks > INT32_MAX) return cudaErrorInvalidValue;
  return launch_early(sum_rows_kernel, dim3(static_cast<unsigned>(sums.blocks)), RowSums::kThreads, 0, stream, sums);
}

}  // namespace mpeft::kernels
