// Depthwise causal convolution, forward.
//
// Equation and layouts: causal_conv1d_params.h.
// Mapping: a thread owns kVec neighbouring channels (one 8-byte access) of a walk of consecutive steps; the window of
//   inputs stays in registers, and a ring of kAhead loads runs ahead of it. No shared memory, no barrier.
// Accumulation: float.
// Limits: any batch, seqlen, d_inner and strides; rows that are not 16-byte aligned take the kVec = 1 instance.
#include <type_traits>

#include "kernels/causal_conv1d/causal_conv1d_launch.h"
#include "kernels/causal_conv1d/window.cuh"

namespace mpeft::kernels {
namespace {

constexpr int kAhead = 8;  // steps whose inputs are on their way
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
constexpr int kBlocksThatFit = 5;  // into a multiprocessor, by registers; for 6 they would spill there
#else
constexpr int kBlocksThatFit = 6;  // into a multiprocessor, by registers
#endif
constexpr int kBlocksAtOnce = 5;   // a walk is as short as this allows: 6 are slower on short sequences
constexpr int kLongWalk = 48;      // where it became longer, many waves of blocks with walks of kStepsInWaves are
constexpr int kStepsInWaves = 24;  //   faster: the inputs that neighbouring walks share are still in the cache
constexpr int64_t kFewElements = int64_t{kConvMultiprocessors} << 14;  // fewer: half as many channels a thread

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
__global__ void __launch_bounds__(ConvGrid::kThreads, kPacked ? 1 : kBlocksThatFit)
    causal_conv1d_fwd_kernel(const CausalConv1dFwdParams<scalar_t> p, const ConvGrid grid) {
  const ConvTile tile = locate_tile<kVec>(p, grid);
  if (!tile.exists) return;
  const int64_t length = conv_length<kPacked>(p, tile.row), channel = tile.channel;
  PackedRow packed{tile.row, 0, p.seqlen};
  if constexpr (kPacked) packed = PackedRow::of(p, tile.first_step);

  const int64_t x_stride = p.x.time_stride, out_stride = p.d_inner;
  const scalar_t* x = p.x.data + tile.row * p.x.batch_stride + tile.first_step * x_stride + channel;
  scalar_t* to = p.out + (tile.row * p.seqlen + tile.first_step) * out_stride + channel;
  int64_t step = tile.first_step;                                                    // of the round that comes next
  int left = static_cast<int>(max(int64_t{0}, min(tile.last_step, length) - step));  // inputs from there on
  RawVector<scalar_t, kVec> ring[kAhead];
#pragma unroll
  for (int i = 0; i < kAhead; ++i) {
    if (i < left) ring[i].load(x);
    x += x_stride;
  }
  float window[kWidth][kVec];          // the last kWidth inputs, newest last
  auto open_window = [&](int64_t t) {  // ready for the input of step t
#pragma unroll
    for (int k = 1; k < kWidth; ++k) {
      load_input<kWidth>(window[k], p, packed.row, packed.begin, t - packed.begin + k - kWidth, length - packed.begin,
                         channel);
    }
  };
  open_window(step);
  float weight[kWidth][kVec], bias[kVec];
  load_taps<kWidth>(weight, bias, p, channel);
  // Before the walk: here these loads wait together with the first inputs, and nothing they need has to be kept.
  if (!kPacked && p.last_state != nullptr && step == 0) {
    store_last_state<scalar_t, kWidth, kVec>(p, tile.row, 0, length, channel);
  }
  for (int64_t t = max(step, length); t < tile.last_step; ++t) {  // the padding
    const float zeros[kVec] = {};
    store_floats(p.out + (tile.row * p.seqlen + t) * out_stride + channel, zeros);
  }

  auto round = [&](auto full) {  // kAhead steps; full: all of them, and the inputs of as many behind them, exist
    constexpr bool kFull = decltype(full)::value;
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if constexpr (kPacked) {
        if (i < left && packed.moves_on(p, step + i)) open_window(step + i);
      }
#pragma unroll
      for (int k = 0; k < kWidth - 1; ++k) {
#pragma unroll
        for (int c = 0; c < kVec; ++c) window[k][c] = window[k + 1][c];
      }
      ring[i].widen(window[kWidth - 1]);
      if (kFull || i + kAhead < left) ring[i].load(x);
      x += x_stride;
      float out[kVec];
#pragma unroll
      for (int c = 0; c < kVec; ++c) {
        float sum = bias[c];
#pragma unroll
        for (int k = 0; k < kWidth; ++k) sum = fmaf(weight[k][c], window[k][c], sum);
        out[c] = p.silu ? conv_silu<scalar_t>(sum) : sum;
      }
      if (kFull || i < left) store_floats(to, out);
      to += out_stride;
    }
    step += kAhead, left -= kAhead;
  };
  if constexpr (!kPacked) {
    while (left >= 2 * kAhead) round(std::true_type{});
  }
  while (left > 0) round(std::false_type{});
}

template <typename scalar_t, int kWidth, int kVec>
cudaError_t launch_vec(const CausalConv1dFwdParams<scalar_t>& p, cudaStream_t stream) {
  int steps = conv_steps(p, kVec, kBlocksAtOnce, kAhead);
  if (steps > kLongWalk) steps = kStepsInWaves;
  const ConvGrid grid = conv_grid(p, kVec, steps);
  if (grid.blocks == 0) return cudaErrorInvalidValue;
  if (p.cu_seqlens == nullptr) {
    causal_conv1d_fwd_kernel<scalar_t, kWidth, kVec, false><<<grid.blocks, ConvGrid::kThreads, 0, stream>>>(p, grid);
    return cudaGetLastError();
  }
  causal_conv1d_fwd_kernel<scalar_t, kWidth, kVec, true><<<grid.blocks, ConvGrid::kThreads, 0, stream>>>(p, grid);
  if (p.last_state != nullptr) {
    const int64_t state_blocks = conv_ceil(p.batch * p.d_inner, ConvGrid::kThreads);
    if (state_blocks > INT32_MAX) return cudaErrorInvalidValue;
    packed_last_state_kernel<scalar_t, kWidth>
        <<<static_cast<unsigned>(state_blocks), ConvGrid::kThreads, 0, stream>>>(p);
  }
  return cudaGetLastError();
}

template <typename scalar_t, int kWidth>
cudaError_t launch_width(const CausalConv1dFwdParams<scalar_t>& p, cudaStream_t stream) {
  constexpr int kVec = kVectorElements<scalar_t> / 2;  // a full vector's registers would halve the number of warps
  if (!inputs_are_aligned(p) || !is_vector_aligned(p.out) || !is_vector_aligned(p.last_state)) {
    return launch_vec<scalar_t, kWidth, 1>(p, stream);
  }
  return conv_rows(p) * p.seqlen * p.d_inner <= kFewElements ? launch_vec<scalar_t, kWidth, kVec / 2>(p, stream)
                                                             : launch_vec<scalar_t, kWidth, kVec>(p, stream);
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
