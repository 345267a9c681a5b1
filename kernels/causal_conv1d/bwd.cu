// Depthwise causal convolution, backward.
//
// Equation: with p_t the pre-activation (recomputed) and g_t = dout_t silu'(p_t), 0 outside [0, length):
//   dx_t = sum_k weight[k] g_{t + (width - 1) - k},   dweight[k] = sum_t g_t x_{t - (width - 1) + k},   dbias = sum_t
//   g_t.
// Mapping: as the forward; a thread walks kSteps + width - 1 steps with the last width inputs and gradients in
// registers. dinitial_state is dx at the steps before 0, which the first time block reaches by starting width - 1 steps
// earlier. Accumulation: float. Sums over time and rows: one partial a (row, time block) in the workspace, then a
// fixed-order sum.
#include "kernels/causal_conv1d/causal_conv1d_launch.h"
#include "kernels/causal_conv1d/window.cuh"
#include "kernels/common/cuda_launch.cuh"
#include "kernels/common/cuda_reduce.cuh"

namespace mpeft::kernels {
namespace {

constexpr int kThreads = 128;
constexpr int kRound = 4;  // steps whose loads are issued together
constexpr int kLeastSteps = 8, kMostSteps = 64;
constexpr int64_t kEnoughThreadsWithSums = int64_t{132} * 256;  // fewer, longer walks: each leaves a partial sum

/// Half a vector a thread: the registers of a full one would halve the number of warps.
template <typename scalar_t>
constexpr int kVecOf = kVectorElements<scalar_t> / 2 < 2 ? 2 : kVectorElements<scalar_t> / 2;

/// Partial sums of a (row, time block): [row * time_blocks + time_block][d_inner][width] and [...][d_inner].
struct ConvPartials {
  float* dweight;
  float* dbias;
};

template <typename scalar_t, int kWidth, int kVec, bool kSums, bool kPacked>
__global__ void __launch_bounds__(kThreads)
    causal_conv1d_bwd_kernel(const CausalConv1dBwdParams<scalar_t> p, const int thread_steps,
                             const ConvPartials partials) {
  let_successor_start();
  const int64_t time_blocks = (p.seqlen + thread_steps - 1) / thread_steps;
  ConvTile tile;
  if (!locate_tile<kVec>(p, time_blocks, &tile)) return;
  const int64_t first_step = tile.time_block * thread_steps, channel = tile.channel;
  const int64_t last_step = min(first_step + thread_steps, p.seqlen);
  const int64_t length = conv_length<kPacked>(p, tile.row);
  PackedRow packed{tile.row, 0, p.seqlen};  // of the inputs
  if constexpr (kPacked) packed = PackedRow::of(p, first_step);
  PackedRow target_row = packed;  // of the dx that is stored, which lags behind

  float x[kWidth][kVec], g[kWidth][kVec] = {};  // the last kWidth steps, newest last
  auto open_window = [&](int64_t step) {        // ready for the input of `step`
#pragma unroll
    for (int k = 1; k < kWidth; ++k) {
      load_input<kWidth>(x[k], p, packed.row, packed.begin, step - packed.begin + k - kWidth, length - packed.begin,
                         channel);
    }
  };
  open_window(first_step);
  float weight[kWidth][kVec], bias[kVec];
  load_taps<kWidth>(weight, bias, p, channel);
  float dweight[kWidth][kVec] = {}, dbias[kVec] = {};
  const scalar_t* x_from = p.x.data + tile.row * p.x.batch_stride + first_step * p.x.time_stride + channel;
  const scalar_t* dout_from = p.dout.data + tile.row * p.dout.batch_stride + first_step * p.dout.time_stride + channel;

  RawVector<scalar_t, kVec> x_next[kRound], dout_next[kRound];  // loads run one round ahead
  auto fetch = [&](int64_t t0) {
    const int inputs = static_cast<int>(min(int64_t{kRound}, length - t0));
#pragma unroll
    for (int i = 0; i < kRound; ++i) {
      x_next[i] = {};
      dout_next[i] = {};
      if (i < inputs) {
        x_next[i].load(x_from + i * p.x.time_stride);
        dout_next[i].load(dout_from + i * p.dout.time_stride);
      }
    }
    x_from += kRound * p.x.time_stride;
    dout_from += kRound * p.dout.time_stride;
  };
  fetch(first_step);
  // dx of a step needs g of the kWidth - 1 steps after it: walk that much further
  for (int64_t t0 = first_step; t0 < last_step + kWidth - 1; t0 += kRound) {
    RawVector<scalar_t, kVec> x_fetched[kRound], dout_fetched[kRound];
#pragma unroll
    for (int i = 0; i < kRound; ++i) {
      x_fetched[i] = x_next[i];
      dout_fetched[i] = dout_next[i];
    }
    if (t0 + kRound < last_step + kWidth - 1) fetch(t0 + kRound);
#pragma unroll
    for (int i = 0; i < kRound; ++i) {
      if constexpr (kPacked) {
        if (packed.moves_on(p, t0 + i)) open_window(t0 + i);
      }
#pragma unroll
      for (int k = 0; k < kWidth - 1; ++k) {
#pragma unroll
        for (int c = 0; c < kVec; ++c) {
          x[k][c] = x[k + 1][c];
          g[k][c] = g[k + 1][c];
        }
      }
      float dout[kVec];
      x_fetched[i].widen(x[kWidth - 1]);
      dout_fetched[i].widen(dout);  // 0 in the padding, and so is g
#pragma unroll
      for (int c = 0; c < kVec; ++c) {
        float sum = bias[c];
#pragma unroll
        for (int k = 0; k < kWidth; ++k) sum = fmaf(weight[k][c], x[k][c], sum);
        const float slope = silu_derivative(sum, sigmoid<scalar_t>(sum));
        g[kWidth - 1][c] = p.silu ? dout[c] * slope : dout[c];
      }
      if (kSums && t0 + i < last_step) {
#pragma unroll
        for (int c = 0; c < kVec; ++c) {
          dbias[c] += g[kWidth - 1][c];
#pragma unroll
          for (int k = 0; k < kWidth; ++k) dweight[k][c] = fmaf(g[kWidth - 1][c], x[k][c], dweight[k][c]);
        }
      }
      const int64_t target = t0 + i - (kWidth - 1);  // the step whose g_{target .. target + width - 1} are all here now
      int reach = kWidth;                            // gradients from the target on that its row has
      if constexpr (kPacked) {
        if (target >= first_step) target_row.moves_on(p, target);
        reach = static_cast<int>(min(int64_t{kWidth}, target_row.end - target));
      }
      float dx[kVec];
#pragma unroll
      for (int c = 0; c < kVec; ++c) {
        dx[c] = 0.f;
#pragma unroll
        for (int k = 0; k < kWidth; ++k) {
          const float g_k = !kPacked || k < reach ? g[k][c] : 0.f;
          dx[c] = fmaf(weight[kWidth - 1 - k][c], g_k, dx[c]);
        }
      }
      if (target >= first_step && target < last_step) {
        if (p.dx.data != nullptr) {
          store_floats(p.dx.data + tile.row * p.dx.batch_stride + target * p.dx.time_stride + channel, dx);
        }
      } else if (!kPacked && target < 0 && p.dinitial_state != nullptr) {
        store_floats(p.dinitial_state + (tile.row * (kWidth - 1) + target + kWidth - 1) * p.d_inner + channel, dx);
      }
    }
  }
  if (kSums) {
    const int64_t at = (tile.row * time_blocks + tile.time_block) * p.d_inner + channel;
    float sums[kVec * kWidth];
#pragma unroll
    for (int c = 0; c < kVec; ++c) {
#pragma unroll
      for (int k = 0; k < kWidth; ++k) sums[c * kWidth + k] = dweight[k][c];
    }
    if constexpr (kVec * kWidth % 4 == 0) {
      store_floats(partials.dweight + at * kWidth, sums);
    } else {
#pragma unroll
      for (int i = 0; i < kVec * kWidth; ++i) partials.dweight[at * kWidth + i] = sums[i];
    }
    store_floats(partials.dbias + at, dbias);
  }
}

/// dinitial_state of packed rows, one thread a row and channel: the gradients of the first kWidth - 1 steps again.
template <typename scalar_t, int kWidth>
__global__ void packed_dinitial_state_kernel(const CausalConv1dBwdParams<scalar_t> p) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t row = i / p.d_inner, channel = i - row * p.d_inner;
  if (row >= p.batch) return;
  const RowSpan span = row_span(p, row);
  float weight[kWidth][1], bias[1], dx[kWidth - 1] = {};
  load_taps<kWidth>(weight, bias, p, channel);
  for (int t = 0; t < kWidth - 1 && t < span.length; ++t) {
    float sum = bias[0];
#pragma unroll
    for (int k = 0; k < kWidth; ++k) {
      float x[1];
      load_input<kWidth>(x, p, row, span.first, t - (kWidth - 1) + k, span.length, channel);
      sum = fmaf(weight[k][0], x[0], sum);
    }
    float g = to_float(p.dout.data[(span.first + t) * p.dout.time_stride + channel]);
    if (p.silu) g *= silu_derivative(sum, sigmoid<scalar_t>(sum));
#pragma unroll
    for (int j = 0; j < kWidth - 1; ++j) {  // the state's column j is tap j - t of step t
#pragma unroll
      for (int k = 0; k < kWidth; ++k) {
        if (k == j - t) dx[j] = fmaf(weight[k][0], g, dx[j]);
      }
    }
  }
#pragma unroll
  for (int j = 0; j < kWidth - 1; ++j) p.dinitial_state[(row * (kWidth - 1) + j) * p.d_inner + channel] = dx[j];
}

template <typename scalar_t>
bool wants_sums(const CausalConv1dBwdParams<scalar_t>& p) {
  return p.dweight != nullptr || p.dbias != nullptr;
}

template <typename scalar_t>
int steps_with_sums(const CausalConv1dBwdParams<scalar_t>& p) {
  return conv_steps(p, kVecOf<scalar_t>, kLeastSteps, kMostSteps, kEnoughThreadsWithSums);
}

template <typename scalar_t>
int64_t partial_rows(const CausalConv1dBwdParams<scalar_t>& p) {
  const int steps = steps_with_sums(p);
  return conv_rows(p) * ((p.seqlen + steps - 1) / steps);
}

template <typename scalar_t, int kWidth, int kVec>
cudaError_t launch_vec(const CausalConv1dBwdParams<scalar_t>& p, float* workspace, cudaStream_t stream) {
  const bool sums = wants_sums(p);
  const int steps = sums ? steps_with_sums(p) : conv_steps(p, kVec, kLeastSteps, kMostSteps);
  const unsigned blocks = conv_blocks(p, (p.seqlen + steps - 1) / steps, kVec, kThreads);
  if (blocks == 0) return cudaErrorInvalidValue;
  const bool packed = p.cu_seqlens != nullptr;
  const int64_t weights = p.d_inner * kWidth;
  const ConvPartials partials{workspace, workspace == nullptr ? nullptr : workspace + partial_rows(p) * weights};
  auto* const kernel = sums ? (packed ? causal_conv1d_bwd_kernel<scalar_t, kWidth, kVec, true, true>
                                      : causal_conv1d_bwd_kernel<scalar_t, kWidth, kVec, true, false>)
                            : (packed ? causal_conv1d_bwd_kernel<scalar_t, kWidth, kVec, false, true>
                                      : causal_conv1d_bwd_kernel<scalar_t, kWidth, kVec, false, false>);
  kernel<<<blocks, kThreads, 0, stream>>>(p, steps, partials);
  if (packed && p.dinitial_state != nullptr) {
    const int64_t state_blocks = (p.batch * p.d_inner + kThreads - 1) / kThreads;
    if (state_blocks > INT32_MAX) return cudaErrorInvalidValue;
    packed_dinitial_state_kernel<scalar_t, kWidth><<<static_cast<unsigned>(state_blocks), kThreads, 0, stream>>>(p);
  }
  if (const cudaError_t error = cudaGetLastError(); error != cudaSuccess || !sums) return error;
  return launch_sum_rows(partial_rows(p), stream,
                         {{partials.dweight, weights, p.dweight}, {partials.dbias, p.d_inner, p.dbias}});
}

template <typename scalar_t, int kWidth>
cudaError_t launch_width(const CausalConv1dBwdParams<scalar_t>& p, float* workspace, cudaStream_t stream) {
  const bool vector =
      inputs_are_aligned(p) && is_vector_aligned(p.dout.data, p.dout.batch_stride, p.dout.time_stride) &&
      is_vector_aligned(p.dx.data, p.dx.batch_stride, p.dx.time_stride) && is_vector_aligned(p.dinitial_state);
  return vector ? launch_vec<scalar_t, kWidth, kVecOf<scalar_t>>(p, workspace, stream)
                : launch_vec<scalar_t, kWidth, 1>(p, workspace, stream);
}

}  // namespace

template <typename scalar_t>
int64_t causal_conv1d_bwd_workspace_bytes(const CausalConv1dBwdParams<scalar_t>& p) {
  if (!wants_sums(p)) return 0;
  return partial_rows(p) * p.d_inner * (p.width + 1) * static_cast<int64_t>(sizeof(float));
}

template <typename scalar_t>
cudaError_t launch_causal_conv1d_bwd(const CausalConv1dBwdParams<scalar_t>& p, void* workspace, cudaStream_t stream) {
  if (p.d_inner == 0) return cudaSuccess;
  if (p.batch == 0 || p.seqlen == 0) {  // nothing was read: the sums are 0
    if (p.dweight != nullptr) cudaMemsetAsync(p.dweight, 0, p.d_inner * p.width * sizeof(float), stream);
    if (p.dbias != nullptr) cudaMemsetAsync(p.dbias, 0, p.d_inner * sizeof(float), stream);
    if (p.dinitial_state != nullptr) {
      cudaMemsetAsync(p.dinitial_state, 0, p.batch * (p.width - 1) * p.d_inner * sizeof(float), stream);
    }
    return cudaGetLastError();
  }
  auto* floats = static_cast<float*>(workspace);
  switch (p.width) {
    case 2:
      return launch_width<scalar_t, 2>(p, floats, stream);
    case 3:
      return launch_width<scalar_t, 3>(p, floats, stream);
    case 4:
      return launch_width<scalar_t, 4>(p, floats, stream);
    default:
      return cudaErrorInvalidValue;
  }
}

#define MPEFT_INSTANTIATE(scalar_t)                                                           \
  template int64_t causal_conv1d_bwd_workspace_bytes(const CausalConv1dBwdParams<scalar_t>&); \
  template cudaError_t launch_causal_conv1d_bwd(const CausalConv1dBwdParams<scalar_t>&, void*, cudaStream_t);
MPEFT_INSTANTIATE(float)
MPEFT_INSTANTIATE(__nv_bfloat16)
MPEFT_INSTANTIATE(__half)
#undef MPEFT_INSTANTIATE

}  // namespace mpeft::kernels
