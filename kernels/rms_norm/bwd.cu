// Fused residual addition and RMSNorm, backward.
//
// Equation: with xhat = residual_out rstd and c = mean(weight dout xhat) over the row,
//   dresidual = rstd (weight dout - xhat c) + dresidual_out,   dx = dresidual rounded,   dweight = sum over rows of
//   dout xhat.
// Mapping: without dweight rows as in the forward, a block each. With dweight a fixed number of blocks, each of which
//   walks many rows and keeps its sums of dweight in registers (bwd_dweight.cuh): one pass either way.
// Accumulation: float.
#include "kernels/rms_norm/bwd_dweight.cuh"
#include "kernels/rms_norm/rms_norm_launch.h"
#include "kernels/rms_norm/row_block.cuh"

namespace mpeft::kernels {
namespace {

/// dout weight and xhat of one vector.
template <typename scalar_t, int kVec>
__device__ __forceinline__ void load_scaled(float (&scaled)[kVec], float (&xhat)[kVec],
                                            const RmsNormBwdParams<scalar_t>& p, int64_t start, int64_t column,
                                            float rstd) {
  float weight[kVec];
  load_floats(scaled, p.dout + start + column);
  load_floats(xhat, p.residual_out + start + column);
  load_floats(weight, p.weight + column);
#pragma unroll
  for (int i = 0; i < kVec; ++i) {
    scaled[i] *= weight[i];
    xhat[i] *= rstd;
  }
}

template <typename scalar_t, int kVec>
__global__ void __launch_bounds__(kMaxThreads) rms_norm_bwd_kernel(RmsNormBwdParams<scalar_t> p) {
  const int64_t row = blockIdx.x;
  const int lane = threadIdx.x, threads = blockDim.x;
  const int64_t start = row * p.d_model, stride = static_cast<int64_t>(threads) * kVec;
  const float rstd = p.rstd[row];

  // all loads before the sum over the row: what arrives through the residual too
  float scaled[kCachedVectors][kVec], xhat[kCachedVectors][kVec], through[kCachedVectors][kVec] = {};
  float product = 0.f;
#pragma unroll
  for (int v = 0; v < kCachedVectors; ++v) {
    const int64_t column = lane * kVec + v * stride;
    if (column < p.d_model) {
      load_scaled(scaled[v], xhat[v], p, start, column, rstd);
      if (p.dresidual_out != nullptr) load_floats(through[v], p.dresidual_out + start + column);
    }
  }
#pragma unroll
  for (int v = 0; v < kCachedVectors; ++v) {
    if (lane * kVec + v * stride < p.d_model) {
#pragma unroll
      for (int i = 0; i < kVec; ++i) product = fmaf(scaled[v][i], xhat[v][i], product);
    }
  }
  for (int64_t column = lane * kVec + kCachedVectors * stride; column < p.d_model; column += stride) {
    float s[kVec], x[kVec];
    load_scaled(s, x, p, start, column, rstd);
#pragma unroll
    for (int i = 0; i < kVec; ++i) product = fmaf(s[i], x[i], product);
  }
  const float mean = sum_over_row(product) / static_cast<float>(p.d_model);

  auto store_gradient = [&](float(&s)[kVec], const float(&x)[kVec], const float(&through_row)[kVec], int64_t column) {
#pragma unroll
    for (int i = 0; i < kVec; ++i) s[i] = fmaf(rstd, fmaf(-x[i], mean, s[i]), through_row[i]);
    if (p.dresidual != nullptr) store_floats(p.dresidual + start + column, s);
    if (p.dx != nullptr) store_floats(p.dx + start + column, s);
  };
#pragma unroll
  for (int v = 0; v < kCachedVectors; ++v) {
    const int64_t column = lane * kVec + v * stride;
    if (column < p.d_model) store_gradient(scaled[v], xhat[v], through[v], column);
  }
  for (int64_t column = lane * kVec + kCachedVectors * stride; column < p.d_model; column += stride) {
    float s[kVec], x[kVec], through_row[kVec] = {};
    load_scaled(s, x, p, start, column, rstd);
    if (p.dresidual_out != nullptr) load_floats(through_row, p.dresidual_out + start + column);
    store_gradient(s, x, through_row, column);
  }
}

template <typename scalar_t, int kVec>
cudaError_t launch_vec(const RmsNormBwdParams<scalar_t>& p, cudaStream_t stream) {
  if (p.rows > INT32_MAX) return cudaErrorInvalidValue;
  const int threads = threads_per_row((p.d_model + kVec - 1) / kVec);
  rms_norm_bwd_kernel<scalar_t, kVec><<<static_cast<unsigned>(p.rows), threads, 0, stream>>>(p);
  return cudaGetLastError();
}

}  // namespace

template <typename scalar_t>
int64_t rms_norm_bwd_workspace_bytes(const RmsNormBwdParams<scalar_t>& p) {
  if (p.dweight == nullptr || p.rows == 0 || p.d_model == 0) return 0;
  return plan_dweight(p).blocks * p.d_model * static_cast<int64_t>(sizeof(float));
}

template <typename scalar_t>
cudaError_t launch_rms_norm_bwd(const RmsNormBwdParams<scalar_t>& p, void* workspace, cudaStream_t stream) {
  if (p.d_model == 0) return cudaSuccess;
  if (p.rows == 0) {
    return p.dweight == nullptr ? cudaSuccess : cudaMemsetAsync(p.dweight, 0, p.d_model * sizeof(float), stream);
  }
  if (p.dweight != nullptr) return launch_bwd_with_dweight(p, static_cast<float*>(workspace), stream);
  if (p.dx == nullptr && p.dresidual == nullptr) return cudaSuccess;
  constexpr int kVec = kVectorElements<scalar_t>;
  const bool vector = p.d_model % kVec == 0 && is_vector_aligned(p.dout) && is_vector_aligned(p.dresidual_out) &&
                      is_vector_aligned(p.residual_out) && is_vector_aligned(p.weight) && is_vector_aligned(p.dx) &&
                      is_vector_aligned(p.dresidual);
  return vector ? launch_vec<scalar_t, kVec>(p, stream) : launch_vec<scalar_t, 1>(p, stream);
}

#define MPEFT_INSTANTIATE(scalar_t)                                                 \
  template int64_t rms_norm_bwd_workspace_bytes(const RmsNormBwdParams<scalar_t>&); \
  template cudaError_t launch_rms_norm_bwd(const RmsNormBwdParams<scalar_t>&, void*, cudaStream_t);
MPEFT_INSTANTIATE(float)
MPEFT_INSTANTIATE(__nv_bfloat16)
MPEFT_INSTANTIATE(__half)
#undef MPEFT_INSTANTIATE

}  // namespace mpeft::kernels
