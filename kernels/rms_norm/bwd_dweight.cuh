#pragma once

#include "kernels/common/cuda_launch.cuh"
#include "kernels/rms_norm/bwd_plan.cuh"
#include "kernels/rms_norm/bwd_row.cuh"

// defines: launch_bwd_with_dweight
//
// The backward with dweight, everything read once. A block walks rows blockIdx, blockIdx + gridDim, ... (or pairs of
// rows, when they are short); a thread owns the same 8 columns (4) of each, keeps their sums of dweight in registers
// and loads the next row before the sum over this one, so that loads are in flight while the block waits for itself.
// Each block leaves one row of partial sums, which a second kernel adds.
//
// How many blocks share the rows is a function of the shape and the pointers' alignment alone (plan_bwd): dweight is
// the same bits on every device. Of rows of more than 6144 elements (5120 of fp32, 3072 when not aligned) what lies
// beyond 3072 (2560) is read twice.

namespace mpeft::kernels {

/// kRows rows at a time; kTail: of more elements than a block holds. partial (gridDim, d_model): the blocks' sums of
/// dweight.
template <typename scalar_t, int kVec, int kVectors, int kRows, bool kTail>
__global__ void __launch_bounds__(kBwdMaxThreads<scalar_t, kVec * kVectors>)
    rms_norm_bwd_dweight_kernel(RmsNormBwdParams<scalar_t> p, float* partial) {
  static_assert(kRows == 1 || !kTail);
  using Row = HeldRow<scalar_t, kVec, kVectors>;
  __shared__ float warp_sums[2][kRows][32];
  let_successor_start();
  partial += blockIdx.x * p.d_model;
  const int rows = static_cast<int>(p.rows), step = gridDim.x * kRows, first_row = blockIdx.x * kRows;
  const float one_over_d_model = 1.f / static_cast<float>(p.d_model);

  auto load = [&](Row(&held)[kRows], int row) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (row + r < rows) held[r].load(p, row + r);
    }
  };
  Row next[kRows];
  load(next, first_row);
  float weight[kVectors][kVec], dweight[kVectors][kVec] = {};
  load_weight<Row>(weight, p);

  int turn = 0;
  for (int row = first_row; row < rows; row += step, turn ^= 1) {
    Row held[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      held[r] = next[r];
      next[r] = Row{};
    }
    load(next, row + step);

    float rstd[kRows], mean[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      rstd[r] = held[r].rstd();
      mean[r] = held[r].product(weight, rstd[r]);
    }
    const RowTail<scalar_t, kVec> tail{p, row * p.d_model, Row::column(kVectors), rstd[0]};
    if constexpr (kTail) mean[0] += tail.sum();
    sums_over_rows(mean, warp_sums, turn);

#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      mean[r] *= one_over_d_model;
      held[r].store(p, row + r, row + r < rows, weight, rstd[r], mean[r],
                    [&](int v, int i, float dout, float xhat) { dweight[v][i] = fmaf(dout, xhat, dweight[v][i]); });
    }
    if constexpr (kTail) tail.store(mean[0], partial, row == first_row);
  }

#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    if (Row::column(v) < p.d_model) store_floats(partial + Row::column(v), dweight[v]);
  }
}

inline constexpr int kSumColumns = 32, kSumGroups = 32;

/// dweight = sum over blocks of partial. All of a thread's loads (32 at most of them for 1024 blocks) are in flight
/// together: at this size the time is that of one access. The order is fixed: 32 interleaved sums, then those.
static __global__ void __launch_bounds__(kSumColumns* kSumGroups)
    sum_dweight_kernel(const float* partial, int blocks, int64_t d_model, float* dweight) {
  __shared__ float group_sum[kSumGroups][kSumColumns + 1];  // + 1: columns of it in different banks
  const int lane = threadIdx.x % 32, group = threadIdx.x / 32;
  const int64_t first_column = static_cast<int64_t>(blockIdx.x) * kSumColumns;
  wait_for_predecessor();
  float sum = 0.f;
  if (first_column + lane < d_model) {
#pragma unroll 16
    for (int block = group; block < blocks; block += kSumGroups) sum += partial[block * d_model + first_column + lane];
  }
  group_sum[group][lane] = sum;
  __syncthreads();
  sum = group_sum[lane][group];  // from here on a warp has a column
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, offset);
  if (lane == 0 && first_column + group < d_model) dweight[first_column + group] = sum;
}

/// p.rows > 0, p.d_model > 0, p.dweight given; partial (blocks, d_model).
template <typename scalar_t>
cudaError_t launch_bwd_with_dweight(RmsNormBwdParams<scalar_t> p, float* partial, cudaStream_t stream) {
  const RmsNormBwdPlan plan = plan_bwd(p);
  const int64_t column_blocks = (p.d_model + kSumColumns - 1) / kSumColumns;
  if (p.rows > INT32_MAX / 2 || column_blocks > INT32_MAX) return cudaErrorInvalidValue;
  if (p.dx == nullptr && p.dresidual == nullptr) p.dresidual_out = nullptr;  // nothing depends on it
  auto* const kernel = !plan.vectors     ? rms_norm_bwd_dweight_kernel<scalar_t, 1, 4, 1, true>
                       : plan.short_rows ? rms_norm_bwd_dweight_kernel<scalar_t, 4, 1, 2, false>
                       : plan.tail       ? rms_norm_bwd_dweight_kernel<scalar_t, 4, 1, 1, true>
                                         : rms_norm_bwd_dweight_kernel<scalar_t, 4, 2, 1, false>;
  kernel<<<static_cast<unsigned>(plan.blocks), plan.threads, 0, stream>>>(p, partial);
  if (const cudaError_t error = cudaGetLastError(); error != cudaSuccess) return error;
  return launch_early(sum_dweight_kernel, dim3(static_cast<unsigned>(column_blocks)), kSumColumns * kSumGroups, 0,
                      stream, partial, plan.blocks, p.d_model, p.dweight);
}

}  // namespace mpeft::kernels
