// Depthwise causal convolution, forward.
//
// Equation and layouts: causal_conv1d_params.h.
// Mapping: a thread owns kVec neighbouring channels (one 16-byte access) of kSteps consecutive steps; the window of
// inputs
//   stays in registers. Neighbouring threads hold neighbouring channels, then later steps. No shared memory, no
//   barrier.
// Accumulation: float.
// Limits: any batch, seqlen, d_inner and strides; rows that are not 16-byte aligned take the kVec = 1 instance.
#include "kernels/causal_conv1d/causal_conv1d_launch.h"
#include "kernels/causal_conv1d/window.cuh"

namespace mpeft::kernels {
namespace {

constexpr int kThreads = 128;
constexpr int kSteps = 8;

template <typename scalar_t, int kWidth, int kVec>
__device__ __forceinline__ void store_last_state(const CausalConv1dFwdParams<scalar_t>& p, int64_t row, int length,
                                                 int64_t channel) {
#pragma unroll
  for (int k = 0; k < kWidth - 1; ++k) {
    float x[kVec];
    load_input<kWidth>(x, p, row, length - (kWidth - 1) + k, length, channel);
    store_floats(p.last_state + (row * (kWidth - 1) + k) * p.d_inner + channel, x);
  }
}

template <typename scalar_t, int kWidth, int kVec>
__global__ void __launch_bounds__(kThreads) causal_conv1d_fwd_kernel(CausalConv1dFwdParams<scalar_t> p) {
  ConvTile tile;
  if (!locate_tile<kVec>(p, (p.seqlen + kSteps - 1) / kSteps, &tile)) return;
  const int64_t first_step = tile.time_block * kSteps;
  const int64_t length = device_row_length(p.lengths, tile.row, p.seqlen);
  const int64_t channel = tile.channel;

  float weight[kWidth][kVec], bias[kVec];
  load_taps<kWidth>(weight, bias, p, channel);
  float window[kWidth - 1 + kSteps][kVec];
#pragma unroll
  for (int i = 0; i < kWidth - 1 + kSteps; ++i) {
    load_input<kWidth>(window[i], p, tile.row, first_step + i - (kWidth - 1), length, channel);
  }
#pragma unroll
  for (int i = 0; i < kSteps; ++i) {
    const int64_t t = first_step + i;
    float out[kVec];
#pragma unroll
    for (int c = 0; c < kVec; ++c) {
      float sum = bias[c];
#pragma unroll
      for (int k = 0; k < kWidth; ++k) sum = fmaf(weight[k][c], window[i + k][c], sum);
      if (p.silu) sum *= sigmoid<scalar_t>(sum);
      out[c] = t < length ? sum : 0.f;
    }
    if (t < p.seqlen) store_floats(p.out + (tile.row * p.seqlen + t) * p.d_inner + channel, out);
  }
  if (p.last_state != nullptr && tile.time_block == 0) {
    store_last_state<scalar_t, kWidth, kVec>(p, tile.row, static_cast<int>(length), channel);
  }
}

template <typename scalar_t, int kWidth>
cudaError_t launch_width(const CausalConv1dFwdParams<scalar_t>& p, cudaStream_t stream) {
  constexpr int kVec = kVectorElements<scalar_t>;
  const bool vector = inputs_are_aligned(p) && is_vector_aligned(p.out) && is_vector_aligned(p.last_state);
  const int64_t time_blocks = (p.seqlen + kSteps - 1) / kSteps;
  const unsigned blocks = conv_blocks(p, time_blocks, vector ? kVec : 1, kThreads);
  if (blocks == 0) return cudaErrorInvalidValue;
  if (vector) {
    causal_conv1d_fwd_kernel<scalar_t, kWidth, kVec><<<blocks, kThreads, 0, stream>>>(p);
  } else {
    causal_conv1d_fwd_kernel<scalar_t, kWidth, 1><<<blocks, kThreads, 0, stream>>>(p);
  }
  return cudaGetLastError();
}

}  // namespace

template <typename scalar_t>
cudaError_t launch_causal_conv1d_fwd(const CausalConv1dFwdParams<scalar_t>& p, cudaStream_t stream) {
  if (p.batch == 0 || p.seqlen == 0 || p.d_inner == 0) return cudaSuccess;
  switch (p.width) {
    case 2:
      return launch_width<scalar_t, 2>(p, stream);
    case 3:
      return launch_width<scalar_t, 3>(p, stream);
    case 4:
      return launch_width<scalar_t, 4>(p, stream);
    default:
      return cudaErrorInvalidValue;
  }
}

template cudaError_t launch_causal_conv1d_fwd(const CausalConv1dFwdParams<float>&, cudaStream_t);
template cudaError_t launch_causal_conv1d_fwd(const CausalConv1dFwdParams<__nv_bfloat16>&, cudaStream_t);
template cudaError_t launch_causal_conv1d_fwd(const CausalConv1dFwdParams<__half>&, cudaStream_t);

}  // namespace mpeft::kernels
