// Depthwise causal convolution, forward.
//
// Equation and layouts: causal_conv1d_params.h.
// Mapping: a thread owns kVec neighbouring channels (one 8-byte access) of kSteps consecutive steps; the window of
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
constexpr int kMostSteps = 64;

template <typename scalar_t, int kWidth, int kVec>
__device__ __forceinline__ void store_last_state(const CausalConv1dFwdParams<scalar_t>& p, int64_t row, int64_t begin,
                                                 int64_t length, int64_t channel) {
#pragma unroll
  for (int k = 0; k < kWidth - 1; ++k) {
    float x[kVec];
    load_input<kWidth>(x, p, row, begin, length - (kWidth - 1) + k, length, channel);
    store_floats(p.last_state + (row * (kWidth - 1) + k) * p.d_inner + channel, x);
  }
}

/// The last states of packed rows, one thread a row and channel.
template <typename scalar_t, int kWidth>
__global__ void packed_last_state_kernel(const CausalConv1dFwdParams<scalar_t> p) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t row = i / p.d_inner;
  if (row >= p.batch) return;
  const RowSpan span = row_span(p, row);
  store_last_state<scalar_t, kWidth, 1>(p, row, span.first, span.length, i - row * p.d_inner);
}

template <typename scalar_t, int kWidth, int kVec, bool kPacked>
__global__ void __launch_bounds__(kThreads)
    causal_conv1d_fwd_kernel(const CausalConv1dFwdParams<scalar_t> p, const int thread_steps) {
  ConvTile tile;
  if (!locate_tile<kVec>(p, (p.seqlen + thread_steps - 1) / thread_steps, &tile)) return;
  const int64_t first_step = tile.time_block * thread_steps, channel = tile.channel;
  const int64_t last_step = min(first_step + thread_steps, p.seqlen);
  const int64_t length = conv_length<kPacked>(p, tile.row);
  PackedRow packed{tile.row, 0, p.seqlen};
  if constexpr (kPacked) packed = PackedRow::of(p, first_step);

  float window[kWidth][kVec];             // the last kWidth inputs, newest last
  auto open_window = [&](int64_t step) {  // ready for the input of `step`
#pragma unroll
    for (int k = 1; k < kWidth; ++k) {
      load_input<kWidth>(window[k], p, packed.row, packed.begin, step - packed.begin + k - kWidth,
                         length - packed.begin, channel);
    }
  };
  open_window(first_step);
  float weight[kWidth][kVec], bias[kVec];
  load_taps<kWidth>(weight, bias, p, channel);
  const scalar_t* x = p.x.data + tile.row * p.x.batch_stride + first_step * p.x.time_stride + channel;
  scalar_t* to = p.out + (tile.row * p.seqlen + first_step) * p.d_inner + channel;

  RawVector<scalar_t, kVec> next[kSteps];  // loads run one round ahead
  auto fetch = [&](int64_t t0) {
    const int inputs = static_cast<int>(min(int64_t{kSteps}, length - t0));
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      next[i] = {};
      if (i < inputs) next[i].load(x + i * p.x.time_stride);
    }
    x += kSteps * p.x.time_stride;
  };
  fetch(first_step);
  for (int64_t t0 = first_step; t0 < last_step; t0 += kSteps) {
    const int inputs = static_cast<int>(min(int64_t{kSteps}, length - t0)), steps = static_cast<int>(last_step - t0);
    RawVector<scalar_t, kVec> fetched[kSteps];
#pragma unroll
    for (int i = 0; i < kSteps; ++i) fetched[i] = next[i];
    if (t0 + kSteps < last_step) fetch(t0 + kSteps);
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      if constexpr (kPacked) {
        if (packed.moves_on(p, t0 + i)) open_window(t0 + i);
      }
#pragma unroll
      for (int k = 0; k < kWidth - 1; ++k) {
#pragma unroll
        for (int c = 0; c < kVec; ++c) window[k][c] = window[k + 1][c];
      }
      fetched[i].widen(window[kWidth - 1]);
      float out[kVec];
#pragma unroll
      for (int c = 0; c < kVec; ++c) {
        float sum = bias[c];
#pragma unroll
        for (int k = 0; k < kWidth; ++k) sum = fmaf(weight[k][c], window[k][c], sum);
        const float gate = sigmoid<scalar_t>(sum);
        out[c] = p.silu ? sum * gate : sum;
        if (i >= inputs) out[c] = 0.f;
      }
      if (i < steps) store_floats(to + i * p.d_inner, out);
    }
    to += kSteps * p.d_inner;
  }
  if (!kPacked && p.last_state != nullptr && tile.time_block == 0) {
    store_last_state<scalar_t, kWidth, kVec>(p, tile.row, 0, length, channel);
  }
}

template <typename scalar_t, int kWidth>
cudaError_t launch_width(const CausalConv1dFwdParams<scalar_t>& p, cudaStream_t stream) {
  constexpr int kVec = kVectorElements<scalar_t> / 2;  // a full vector's registers would halve the number of warps
  const bool vector = inputs_are_aligned(p) && is_vector_aligned(p.out) && is_vector_aligned(p.last_state);
  const int steps = conv_steps(p, vector ? kVec : 1, kSteps, kMostSteps);
  const unsigned blocks = conv_blocks(p, (p.seqlen + steps - 1) / steps, vector ? kVec : 1, kThreads);
  if (blocks == 0) return cudaErrorInvalidValue;
  const bool packed = p.cu_seqlens != nullptr;
  auto* const kernel = vector ? (packed ? causal_conv1d_fwd_kernel<scalar_t, kWidth, kVec, true>
                                        : causal_conv1d_fwd_kernel<scalar_t, kWidth, kVec, false>)
                              : (packed ? causal_conv1d_fwd_kernel<scalar_t, kWidth, 1, true>
                                        : causal_conv1d_fwd_kernel<scalar_t, kWidth, 1, false>);
  kernel<<<blocks, kThreads, 0, stream>>>(p, steps);
  if (packed && p.last_state != nullptr) {
    const int64_t state_blocks = (p.batch * p.d_inner + kThreads - 1) / kThreads;
    if (state_blocks > INT32_MAX) return cudaErrorInvalidValue;
    packed_last_state_kernel<scalar_t, kWidth><<<static_cast<unsigned>(state_blocks), kThreads, 0, stream>>>(p);
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
