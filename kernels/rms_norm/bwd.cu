// Fused residual addition and RMSNorm, backward.
//
// Equation: with xhat = residual_out rstd and c = mean(weight dout xhat) over the row,
//   dresidual = rstd (weight dout - xhat c) + dresidual_out,   dx = dresidual rounded,   dweight = sum over rows of
//   dout xhat.
// Mapping: rows as in the forward. dweight, when wanted, is a second kernel: a block owns 128 columns of a span of
// rows, and
//   the spans are summed in a fixed order.
// Accumulation: float.
#include <algorithm>

#include "kernels/common/cuda_launch.cuh"
#include "kernels/common/cuda_reduce.cuh"
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

constexpr int kDweightColumns = 128;
constexpr int64_t kMaxRowSpans = 256;

/// Rows of one partial sum of dweight: 16 at least, and no more than kMaxRowSpans spans.
inline int64_t rows_per_span(int64_t rows) { return std::max<int64_t>(16, (rows + kMaxRowSpans - 1) / kMaxRowSpans); }

/// partial[span][column] = sum of dout xhat over the rows of the span.
template <typename scalar_t>
__global__ void __launch_bounds__(kDweightColumns)
    rms_norm_dweight_kernel(RmsNormBwdParams<scalar_t> p, int64_t span, float* partial) {
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kDweightColumns + threadIdx.x;
  if (column >= p.d_model) return;
  const int64_t first = blockIdx.y * span, last = min(first + span, p.rows);
  float sum = 0.f;
#pragma unroll 8
  for (int64_t row = first; row < last; ++row) {
    const int64_t i = row * p.d_model + column;
    sum = fmaf(to_float(p.dout[i]) * p.rstd[row], p.residual_out[i], sum);
  }
  partial[blockIdx.y * p.d_model + column] = sum;
}

template <typename scalar_t, int kVec>
cudaError_t launch_vec(const RmsNormBwdParams<scalar_t>& p, cudaStream_t stream) {
  if (p.rows > INT32_MAX) return cudaErrorInvalidValue;
  const int threads = threads_per_row((p.d_model + kVec - 1) / kVec);
  rms_norm_bwd_kernel<scalar_t, kVec><<<static_cast<unsigned>(p.rows), threads, 0, stream>>>(p);
  return cudaGetLastError();
}

template <typename scalar_t>
cudaError_t launch_dweight(const RmsNormBwdParams<scalar_t>& p, float* partial, cudaStream_t stream) {
  const int64_t span = rows_per_span(p.rows), spans = (p.rows + span - 1) / span;
  const int64_t column_blocks = (p.d_model + kDweightColumns - 1) / kDweightColumns;
  if (column_blocks > INT32_MAX) return cudaErrorInvalidValue;
  const dim3 grid(static_cast<unsigned>(column_blocks), static_cast<unsigned>(spans));
  rms_norm_dweight_kernel<<<grid, kDweightColumns, 0, stream>>>(p, span, partial);
  if (const cudaError_t error = cudaGetLastError(); error != cudaSuccess) return error;
  return launch_sum_rows(spans, stream, {{partial, p.d_model, p.dweight}});
}

}  // namespace

template <typename scalar_t>
int64_t rms_norm_bwd_workspace_bytes(const RmsNormBwdParams<scalar_t>& p) {
  if (p.dweight == nullptr || p.rows == 0) return 0;
  const int64_t span = rows_per_span(p.rows);
  return (p.rows + span - 1) / span * p.d_model * static_cast<int64_t>(sizeof(float));
}

template <typename scalar_t>
cudaError_t launch_rms_norm_bwd(const RmsNormBwdParams<scalar_t>& p, void* workspace, cudaStream_t stream) {
  if (p.d_model == 0) return cudaSuccess;
  if (p.rows == 0) {
    return p.dweight == nullptr ? cudaSuccess : cudaMemsetAsync(p.dweight, 0, p.d_model * sizeof(float), stream);
  }
  if (p.dx != nullptr || p.dresidual != nullptr) {
    constexpr int kVec = kVectorElements<scalar_t>;
    const bool vector = p.d_model % kVec == 0 && is_vector_aligned(p.dout) && is_vector_aligned(p.dresidual_out) &&
                        is_vector_aligned(p.residual_out) && is_vector_aligned(p.weight) && is_vector_aligned(p.dx) &&
                        is_vector_aligned(p.dresidual);
    const cudaError_t error = vector ? launch_vec<scalar_t, kVec>(p, stream) : launch_vec<scalar_t, 1>(p, stream);
    if (error != cudaSuccess) return error;
  }
  return p.dweight == nullptr ? cudaSuccess : launch_dweight(p, static_cast<float*>(workspace), stream);
}

#define MPEFT_INSTANTIATE(scalar_t)                                                 \
  template int64_t rms_norm_bwd_workspace_bytes(const RmsNormBwdParams<scalar_t>&); \
  template cudaError_t launch_rms_norm_bwd(const RmsNormBwdParams<scalar_t>&, void*, cudaStream_t);
MPEFT_INSTANTIATE(float)
MPEFT_INSTANTIATE(__nv_bfloat16)
MPEFT_INSTANTIATE(__half)
#undef MPEFT_INSTANTIATE

}  // namespace mpeft::kernels
