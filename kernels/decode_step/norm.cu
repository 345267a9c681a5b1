// Residual addition and RMSNorm of a decode step.
//
// Equation and layouts: kernels/rms_norm/rms_norm_params.h.
// Mapping: a block of 256 threads a row, 4 columns a thread at a time; the weight is read before the row is there.
// Accumulation: float.
// Limits: d_model a multiple of 4, at most 4096; rows 16-byte aligned. Larger ones take rms_norm itself.
#include "kernels/common/cuda_vector.cuh"
#include "kernels/decode_step/decode_step_launch.h"
#include "kernels/decode_step/overlap.cuh"

namespace mpeft::kernels {
namespace {

constexpr int kNormThreads = 256, kNormVec = 4, kNormVectors = 4;

template <typename scalar_t>
__global__ void __launch_bounds__(kNormThreads) decode_norm_kernel(RmsNormFwdParams<scalar_t> p) {
  __shared__ float warp_sum[kNormThreads / 32];
  const int64_t start = blockIdx.x * p.d_model;
  float weight[kNormVectors][kNormVec], sum[kNormVectors][kNormVec];
  const auto for_each_vector = [&](const auto& body) {
#pragma unroll
    for (int v = 0; v < kNormVectors; ++v) {
      const int64_t column = static_cast<int64_t>(v * kNormThreads + threadIdx.x) * kNormVec;
      if (column < p.d_model) body(v, column);
    }
  };
  for_each_vector([&](int v, int64_t column) { load_floats(weight[v], p.weight + column); });
  wait_for_previous_kernel();
  float squares = 0.f;
  for_each_vector([&](int v, int64_t column) {
    load_floats(sum[v], p.x + start + column);
    if (p.residual != nullptr) {
      float residual[kNormVec];
      load_floats(residual, p.residual + start + column);
#pragma unroll
      for (int i = 0; i < kNormVec; ++i) sum[v][i] += residual[i];
    }
#pragma unroll
    for (int i = 0; i < kNormVec; ++i) squares = fmaf(sum[v][i], sum[v][i], squares);
  });
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) squares += __shfl_xor_sync(0xffffffffu, squares, offset);
  if (threadIdx.x % 32 == 0) warp_sum[threadIdx.x / 32] = squares;
  __syncthreads();
  squares = 0.f;
#pragma unroll
  for (int warp = 0; warp < kNormThreads / 32; ++warp) squares += warp_sum[warp];
  const float rstd = 1.f / sqrtf(squares / static_cast<float>(p.d_model) + static_cast<float>(p.eps));
  for_each_vector([&](int v, int64_t column) {
    store_floats(p.residual_out + start + column, sum[v]);
#pragma unroll
    for (int i = 0; i < kNormVec; ++i) sum[v][i] *= rstd * weight[v][i];
    store_floats(p.out + start + column, sum[v]);
  });
}

}  // namespace

template <typename scalar_t>
bool decode_norm_fits(const RmsNormFwdParams<scalar_t>& p) {
  return p.rows >= 1 && p.rows <= INT32_MAX && p.d_model >= 1 && p.d_model % kNormVec == 0 &&
         p.d_model <= kNormThreads * kNormVec * kNormVectors && is_vector_aligned(p.x) &&
         is_vector_aligned(p.residual) && is_vector_aligned(p.weight) && is_vector_aligned(p.out) &&
         is_vector_aligned(p.residual_out);
}

template <typename scalar_t>
cudaError_t launch_decode_norm(const RmsNormFwdParams<scalar_t>& p, cudaStream_t stream) {
  if (!decode_norm_fits(p) || p.residual_out == nullptr) return cudaErrorInvalidValue;
  return launch_overlapping(decode_norm_kernel<scalar_t>, dim3(static_cast<unsigned>(p.rows)), dim3(kNormThreads), 0,
                            stream, p);
}

template bool decode_norm_fits(const RmsNormFwdParams<__nv_bfloat16>&);
template bool decode_norm_fits(const RmsNormFwdParams<__half>&);
template cudaError_t launch_decode_norm(const RmsNormFwdParams<__nv_bfloat16>&, cudaStream_t);
template cudaError_t launch_decode_norm(const RmsNormFwdParams<__half>&, cudaStream_t);

}  // namespace mpeft::kernels
