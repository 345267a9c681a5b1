// Fused residual addition and RMSNorm, forward.
//
// Equation and layouts: rms_norm_params.h.
// Mapping: a block of 32 to 256 threads a row; a thread owns vectors threadIdx, threadIdx + blockDim, ... of 16 bytes
// of x. x
//   and residual are read once: the sum stays in registers for the second pass.
// Accumulation: float.
// Limits: any rows and d_model; rows longer than 2 vectors a thread are read twice, rows that are not 16-byte aligned
// take
//   the kVec = 1 instance.
#include "kernels/rms_norm/rms_norm_launch.h"
#include "kernels/rms_norm/row_block.cuh"

namespace mpeft::kernels {
namespace {

template <typename scalar_t, int kVec>
__device__ __forceinline__ void load_sum(float (&sum)[kVec], const RmsNormFwdParams<scalar_t>& p, int64_t offset) {
  load_floats(sum, p.x + offset);
  if (p.residual == nullptr) return;
  float residual[kVec];
  load_floats(residual, p.residual + offset);
#pragma unroll
  for (int i = 0; i < kVec; ++i) sum[i] += residual[i];
}

template <typename scalar_t, int kVec>
__global__ void __launch_bounds__(kMaxThreads) rms_norm_fwd_kernel(RmsNormFwdParams<scalar_t> p) {
  const int64_t row = blockIdx.x;
  const int lane = threadIdx.x, threads = blockDim.x;
  const int64_t start = row * p.d_model, stride = static_cast<int64_t>(threads) * kVec;

  float cached[kCachedVectors][kVec];
  float squares = 0.f;
#pragma unroll
  for (int v = 0; v < kCachedVectors; ++v) {
    const int64_t column = lane * kVec + v * stride;
    if (column < p.d_model) load_sum(cached[v], p, start + column);
  }
#pragma unroll
  for (int v = 0; v < kCachedVectors; ++v) {
    const int64_t column = lane * kVec + v * stride;
    if (column < p.d_model) {
      if (p.residual_out != nullptr) store_floats(p.residual_out + start + column, cached[v]);
#pragma unroll
      for (int i = 0; i < kVec; ++i) squares = fmaf(cached[v][i], cached[v][i], squares);
    }
  }
  for (int64_t column = lane * kVec + kCachedVectors * stride; column < p.d_model; column += stride) {
    float sum[kVec];
    load_sum(sum, p, start + column);
    if (p.residual_out != nullptr) store_floats(p.residual_out + start + column, sum);
#pragma unroll
    for (int i = 0; i < kVec; ++i) squares = fmaf(sum[i], sum[i], squares);
  }

  const float mean = sum_over_row(squares) / static_cast<float>(p.d_model);
  const float rstd = 1.f / sqrtf(mean + static_cast<float>(p.eps));
  if (p.rstd != nullptr && lane == 0) p.rstd[row] = rstd;

  auto store_normed = [&](float(&x)[kVec], int64_t column) {
    float weight[kVec];
    load_floats(weight, p.weight + column);
#pragma unroll
    for (int i = 0; i < kVec; ++i) x[i] *= rstd * weight[i];
    store_floats(p.out + start + column, x);
  };
#pragma unroll
  for (int v = 0; v < kCachedVectors; ++v) {
    const int64_t column = lane * kVec + v * stride;
    if (column < p.d_model) store_normed(cached[v], column);
  }
  for (int64_t column = lane * kVec + kCachedVectors * stride; column < p.d_model; column += stride) {
    float sum[kVec];
    load_sum(sum, p, start + column);
    store_normed(sum, column);
  }
}

template <typename scalar_t, int kVec>
cudaError_t launch_vec(const RmsNormFwdParams<scalar_t>& p, cudaStream_t stream) {
  if (p.rows > INT32_MAX) return cudaErrorInvalidValue;
  const int threads = threads_per_row((p.d_model + kVec - 1) / kVec);
  rms_norm_fwd_kernel<scalar_t, kVec><<<static_cast<unsigned>(p.rows), threads, 0, stream>>>(p);
  return cudaGetLastError();
}

}  // namespace

template <typename scalar_t>
cudaError_t launch_rms_norm_fwd(const RmsNormFwdParams<scalar_t>& p, cudaStream_t stream) {
  if (p.rows == 0 || p.d_model == 0) return cudaSuccess;
  constexpr int kVec = kVectorElements<scalar_t>;
  const bool vector = p.d_model % kVec == 0 && is_vector_aligned(p.x) && is_vector_aligned(p.residual) &&
                      is_vector_aligned(p.weight) && is_vector_aligned(p.out) && is_vector_aligned(p.residual_out);
  return vector ? launch_vec<scalar_t, kVec>(p, stream) : launch_vec<scalar_t, 1>(p, stream);
}

template cudaError_t launch_rms_norm_fwd(const RmsNormFwdParams<float>&, cudaStream_t);
template cudaError_t launch_rms_norm_fwd(const RmsNormFwdParams<__nv_bfloat16>&, cudaStream_t);
template cudaError_t launch_rms_norm_fwd(const RmsNormFwdParams<__half>&, cudaStream_t);

}  // namespace mpeft::kernels
