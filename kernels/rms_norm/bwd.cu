// Fused residual addition and RMSNorm, backward.
//
// Equation: with xhat = residual_out rstd and c = mean(weight dout xhat) over the row,
//   dresidual = rstd (weight dout - xhat c) + dresidual_out,   dx = dresidual rounded,   dweight = sum over rows of
//   dout xhat.
// Mapping: without dweight a block a row. With dweight a fixed number of blocks, each of which walks many rows and
//   keeps its sums of dweight in registers (bwd_dweight.cuh). One pass either way, and either sums a row in the same
//   order (bwd_row.cuh): the bits of dx do not depend on whether dweight is wanted.
// Accumulation: float.
#include "kernels/rms_norm/bwd_dweight.cuh"
#include "kernels/rms_norm/rms_norm_launch.h"

namespace mpeft::kernels {
namespace {

/// kTail: of more elements than a block holds. At least 1 block a multiprocessor: said so, or the compiler spills on
/// sm_120 to fit 2.
template <typename scalar_t, int kVec, int kVectors, bool kTail>
__global__ void __launch_bounds__(kBwdMaxThreads<scalar_t, kVec * kVectors>, 1)
    rms_norm_bwd_kernel(RmsNormBwdParams<scalar_t> p) {
  using Row = HeldRow<scalar_t, kVec, kVectors>;
  __shared__ float warp_sums[2][1][32];
  const int64_t row = blockIdx.x;
  Row held;
  held.load(p, row);
  float weight[kVectors][kVec];
  load_weight<Row>(weight, p);

  const float rstd = held.rstd();
  float mean[1] = {held.product(weight, rstd)};
  const RowTail<scalar_t, kVec> tail{p, row * p.d_model, Row::column(kVectors), rstd};
  if constexpr (kTail) mean[0] += tail.sum();
  sums_over_rows(mean, warp_sums, /*turn=*/0);

  mean[0] *= 1.f / static_cast<float>(p.d_model);
  held.store(p, row, /*stored=*/true, weight, rstd, mean[0], [](int, int, float, float) {});
  if constexpr (kTail) tail.store(mean[0], /*partial=*/nullptr, /*first=*/true);
}

/// p.rows > 0, p.d_model > 0.
template <typename scalar_t>
cudaError_t launch_bwd_without_dweight(const RmsNormBwdParams<scalar_t>& p, cudaStream_t stream) {
  if (p.rows > INT32_MAX) return cudaErrorInvalidValue;
  const RmsNormBwdPlan plan = plan_bwd(p);
  auto* const kernel = !plan.vectors     ? rms_norm_bwd_kernel<scalar_t, 1, 4, true>
                       : plan.short_rows ? rms_norm_bwd_kernel<scalar_t, 4, 1, false>
                       : plan.tail       ? rms_norm_bwd_kernel<scalar_t, 4, 1, true>
                                         : rms_norm_bwd_kernel<scalar_t, 4, 2, false>;
  kernel<<<static_cast<unsigned>(p.rows), plan.threads, 0, stream>>>(p);
  return cudaGetLastError();
}

}  // namespace

template <typename scalar_t>
int64_t rms_norm_bwd_workspace_bytes(const RmsNormBwdParams<scalar_t>& p) {
  if (p.dweight == nullptr || p.rows == 0 || p.d_model == 0) return 0;
  return plan_bwd(p).blocks * p.d_model * static_cast<int64_t>(sizeof(float));
}

template <typename scalar_t>
cudaError_t launch_rms_norm_bwd(const RmsNormBwdParams<scalar_t>& p, void* workspace, cudaStream_t stream) {
  if (p.d_model == 0) return cudaSuccess;
  if (p.rows == 0) {
    return p.dweight == nullptr ? cudaSuccess : cudaMemsetAsync(p.dweight, 0, p.d_model * sizeof(float), stream);
  }
  if (p.dweight != nullptr) return launch_bwd_with_dweight(p, static_cast<float*>(workspace), stream);
  if (p.dx == nullptr && p.dresidual == nullptr) return cudaSuccess;
  return launch_bwd_without_dweight(p, stream);
}

#define MPEFT_INSTANTIATE(scalar_t)                                                 \
  template int64_t rms_norm_bwd_workspace_bytes(const RmsNormBwdParams<scalar_t>&); \
  template cudaError_t launch_rms_norm_bwd(const RmsNormBwdParams<scalar_t>&, void*, cudaStream_t);
MPEFT_INSTANTIATE(float)
MPEFT_INSTANTIATE(__nv_bfloat16)
MPEFT_INSTANTIATE(__half)
#undef MPEFT_INSTANTIATE

}  // namespace mpeft::kernels
