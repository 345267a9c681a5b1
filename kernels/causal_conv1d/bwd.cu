// Depthwise causal convolution, backward.
//
// Equation: with p_t the pre-activation (recomputed) and g_t = dout_t silu'(p_t), 0 outside [0, length):
//   dx_t = sum_k weight[k] g_{t + (width - 1) - k},   dweight[k] = sum_t g_t x_{t - (width - 1) + k},   dbias = sum_t
//   g_t.
// Mapping: as the forward, but that a walk reads width - 1 steps further, and that what it reads is copied ahead into
//   shared memory (StepRing): its sums leave no registers for that. dinitial_state is dx at the steps before 0, which
//   the first walk of a row passes.
//   Few steps and channels: bwd_short.cu, in one launch.
// Accumulation: float. Sums over time and rows: the walks of a block, then one partial a block in the workspace, then a
//   fixed-order sum of those.
#include <algorithm>
#include <type_traits>

#include "kernels/causal_conv1d/bwd_short.h"
#include "kernels/causal_conv1d/causal_conv1d_launch.h"
#include "kernels/causal_conv1d/step_ring.cuh"
#include "kernels/causal_conv1d/window.cuh"
#include "kernels/common/cuda_launch.cuh"
#include "kernels/common/cuda_reduce.cuh"

namespace mpeft::kernels {
namespace {

constexpr int kBlocksAtOnce = 3;  // a walk is as short as this allows; 4 fit, and are slower
constexpr int kLongWalk = 128;    // the longest, where not even blocks of whole rows fit at once

/// Half a vector a thread: the registers of a full one would halve the number of warps.
template <typename scalar_t>
constexpr int kVecOf = kVectorElements<scalar_t> / 2 < 2 ? 2 : kVectorElements<scalar_t> / 2;

/// Partial sums of a group of walks: [group][d_inner][width] and [group][d_inner].
struct ConvPartials {
  float* dweight;
  float* dbias;
};

/// Adds the sums of a block's other warps to those of its first, in order. All threads call it.
template <int kSums>
__device__ __forceinline__ void add_warps(float (&sums)[kSums], char* shared) {
  auto* const others = reinterpret_cast<float(*)[kSums][ConvGrid::kLanes]>(shared);
  const int warp = static_cast<int>(threadIdx.x) / ConvGrid::kLanes, lane = threadIdx.x % ConvGrid::kLanes;
  __syncthreads();  // nobody reads its inputs there any more
  if (warp > 0) {
#pragma unroll
    for (int i = 0; i < kSums; ++i) others[warp - 1][i][lane] = sums[i];
  }
  __syncthreads();
  if (warp > 0) return;
#pragma unroll 1
  for (int other = 0; other + 1 < ConvGrid::kWarps; ++other) {
#pragma unroll
    for (int i = 0; i < kSums; ++i) sums[i] += others[other][i][lane];
  }
}

/// What the code of a round of steps may rely on.
enum class Round {
  kAny,     ///< nothing
  kInside,  ///< every step has inputs and is this walk's
  kFull,    ///< so has the one that is fetched, and the target that a step completes is this walk's too
  kBehind   ///< the kWidth - 1 steps behind a walk, with inputs; nothing is left to fetch
};
template <Round kind>
using RoundKind = std::integral_constant<Round, kind>;

template <typename scalar_t, int kWidth, int kVec, bool kSums, bool kPacked>
__global__ void __launch_bounds__(ConvGrid::kThreads, kPacked ? 1 : (kSums ? 4 : 5))
    causal_conv1d_bwd_kernel(const CausalConv1dBwdParams<scalar_t> p, const ConvGrid grid,
                             const ConvPartials partials) {
  using Ring = StepRing<scalar_t, kVec, 2, ConvGrid::kThreads>;
  constexpr int kX = 0, kDout = 1;
  constexpr int kHalo = kWidth - 1, kSumsOfThread = kVec * (kWidth + 1);
  constexpr int kSumBytes = kSums ? (ConvGrid::kWarps - 1) * kSumsOfThread * ConvGrid::kLanes * 4 : 4;
  __shared__ __align__(16) char shared[Ring::kSharedBytes > kSumBytes ? Ring::kSharedBytes : kSumBytes];
  let_successor_start();
  const ConvTile tile = locate_tile<kVec>(p, grid);
  if (!kSums && !tile.exists) return;
  float sums[kSumsOfThread] = {};  // dweight[c][k], then dbias[c]

  if (tile.exists) {
    const int64_t length = conv_length<kPacked>(p, tile.row), channel = tile.channel;
    PackedRow packed{tile.row, 0, p.seqlen};  // of the inputs
    if constexpr (kPacked) packed = PackedRow::of(p, tile.first_step);
    PackedRow target_row = packed;  // of the dx that is stored, which lags behind

    const int64_t x_stride = p.x.time_stride, dout_stride = p.dout.time_stride, dx_stride = p.dx.time_stride;
    const scalar_t* x_from = p.x.data + tile.row * p.x.batch_stride + tile.first_step * x_stride + channel;
    const scalar_t* dout_from = p.dout.data + tile.row * p.dout.batch_stride + tile.first_step * dout_stride + channel;
    scalar_t* dx_to = p.dx.data + tile.row * p.dx.batch_stride + (tile.first_step - kHalo) * dx_stride + channel;
    // From the round that comes next on: its first step, and how many steps have inputs and how many are this walk's.
    int64_t step = tile.first_step;
    int inputs = static_cast<int>(max(int64_t{0}, min(tile.last_step + kHalo, length) - step));
    int owned = static_cast<int>(tile.last_step - step);
    const int walk = owned;
    Ring ring(shared);
    auto fetch = [&](int i) {
      ring.fetch(i, kX, x_from);
      ring.fetch(i, kDout, dout_from);
    };
#pragma unroll
    for (int r = 0; r < Ring::kRounds; ++r) {
#pragma unroll
      for (int i = 0; i < kRoundSteps; ++i) {
        if (r * kRoundSteps + i < inputs) fetch(i);
        x_from += x_stride;
        dout_from += dout_stride;
      }
      ring.end_round();
    }
    float x[kWidth][kVec], g[kWidth][kVec] = {};  // of the last kWidth steps, newest last
    auto open_window = [&](int64_t t) {           // ready for the input of step t
#pragma unroll
      for (int k = 1; k < kWidth; ++k) {
        load_input<kWidth>(x[k], p, packed.row, packed.begin, t - packed.begin + k - kWidth, length - packed.begin,
                           channel);
      }
    };
    open_window(step);
    float weight[kWidth][kVec], bias[kVec];
    load_taps<kWidth>(weight, bias, p, channel);

    auto round = [&](auto kind) {
      constexpr Round kKind = decltype(kind)::value;
      constexpr bool kAny = kKind == Round::kAny, kBehind = kKind == Round::kBehind;
      ring.begin_round();
#pragma unroll
      for (int i = 0; i < (kBehind ? kHalo : kRoundSteps); ++i) {
        if constexpr (kPacked) {
          if (i < inputs && packed.moves_on(p, step + i)) open_window(step + i);
        }
#pragma unroll
        for (int k = 0; k < kWidth - 1; ++k) {
#pragma unroll
          for (int c = 0; c < kVec; ++c) {
            x[k][c] = x[k + 1][c];
            g[k][c] = g[k + 1][c];
          }
        }
        RawVector<scalar_t, kVec> x_read = ring.read(i, kX), dout_read = ring.read(i, kDout);
        if (kAny && i >= inputs) x_read = {}, dout_read = {};  // 0 in the padding, and so is g
        float dout[kVec];
        x_read.widen(x[kWidth - 1]);
        dout_read.widen(dout);
        if (kKind == Round::kFull || (!kBehind && i + Ring::kAhead < inputs)) fetch(i);
        x_from += x_stride;
        dout_from += dout_stride;
#pragma unroll
        for (int c = 0; c < kVec; ++c) {
          float sum = bias[c];
#pragma unroll
          for (int k = 0; k < kWidth; ++k) sum = fmaf(weight[k][c], x[k][c], sum);
          const float slope = conv_silu_derivative<scalar_t>(sum);
          g[kWidth - 1][c] = p.silu ? dout[c] * slope : dout[c];
        }
        if constexpr (kSums && !kBehind) {
#pragma unroll
          for (int c = 0; c < kVec; ++c) {
            const float own = !kAny || i < owned ? g[kWidth - 1][c] : 0.f;
            sums[kVec * kWidth + c] += own;
#pragma unroll
            for (int k = 0; k < kWidth; ++k) sums[c * kWidth + k] = fmaf(own, x[k][c], sums[c * kWidth + k]);
          }
        }
        const int64_t target = step + i - kHalo;  // the step whose g_{target .. target + width - 1} are all here now
        int reach = kWidth;                       // gradients from the target on that its row has
        if constexpr (kPacked) {
          if (target >= tile.first_step) target_row.moves_on(p, target);
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
        const bool begun = walk - owned + i >= kHalo;  // the target is not before the walk
        if (kAny ? begun && i - kHalo < owned : kKind != Round::kInside || begun) {
          if (p.dx.data != nullptr) store_floats(dx_to, dx);
        } else if (kAny && !kPacked && target < 0 && p.dinitial_state != nullptr) {
          store_floats(p.dinitial_state + (tile.row * kHalo + target + kHalo) * p.d_inner + channel, dx);
        }
        dx_to += dx_stride;
      }
      ring.end_round();
      step += kRoundSteps, inputs -= kRoundSteps, owned -= kRoundSteps;
    };
    while (owned > -kHalo) {
      if (!kPacked && inputs >= kRoundSteps && owned >= kRoundSteps && (step > 0 || p.dinitial_state == nullptr)) {
        round(RoundKind<Round::kInside>{});
        while (inputs >= Ring::kAhead + kRoundSteps && owned >= kRoundSteps) round(RoundKind<Round::kFull>{});
      } else if (!kPacked && owned == 0 && inputs >= kHalo) {
        round(RoundKind<Round::kBehind>{});
      } else {
        round(RoundKind<Round::kAny>{});
      }
    }
  }

  if constexpr (kSums) {
    add_warps(sums, shared);
    if (threadIdx.x >= ConvGrid::kLanes || !tile.exists) return;
    const int64_t at = tile.group * p.d_inner + tile.channel;
    float dweight[kVec * kWidth], dbias[kVec];
#pragma unroll
    for (int i = 0; i < kVec * kWidth; ++i) dweight[i] = sums[i];
#pragma unroll
    for (int c = 0; c < kVec; ++c) dbias[c] = sums[kVec * kWidth + c];
    if constexpr (kVec * kWidth % 4 == 0) {
      store_floats(partials.dweight + at * kWidth, dweight);
    } else {
#pragma unroll
      for (int i = 0; i < kVec * kWidth; ++i) partials.dweight[at * kWidth + i] = dweight[i];
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
int walk_steps(const CausalConv1dBwdParams<scalar_t>& p) {
  constexpr int kVec = kVecOf<scalar_t>;
  const int steps = conv_steps(p, kVec, kBlocksAtOnce, kRoundSteps);
  const bool fit = conv_rows(p) * conv_ceil(p.d_inner, ConvGrid::kLanes * kVec) <= kBlocksAtOnce * kConvMultiprocessors;
  return fit ? steps : std::min(steps, kLongWalk);
}

template <typename scalar_t>
int64_t partial_rows(const CausalConv1dBwdParams<scalar_t>& p) {
  return conv_rows(p) * conv_grid(p, kVecOf<scalar_t>, walk_steps(p)).groups;
}

template <typename scalar_t, int kWidth, int kVec>
cudaError_t launch_vec(const CausalConv1dBwdParams<scalar_t>& p, float* workspace, cudaStream_t stream) {
  const bool sums = wants_sums(p), packed = p.cu_seqlens != nullptr;
  const ConvGrid grid = conv_grid(p, kVec, walk_steps(p));
  if (grid.blocks == 0) return cudaErrorInvalidValue;
  const int64_t weights = p.d_inner * kWidth;
  const ConvPartials partials{workspace, workspace == nullptr ? nullptr : workspace + partial_rows(p) * weights};
  auto* const kernel = sums ? (packed ? causal_conv1d_bwd_kernel<scalar_t, kWidth, kVec, true, true>
                                      : causal_conv1d_bwd_kernel<scalar_t, kWidth, kVec, true, false>)
                            : (packed ? causal_conv1d_bwd_kernel<scalar_t, kWidth, kVec, false, true>
                                      : causal_conv1d_bwd_kernel<scalar_t, kWidth, kVec, false, false>);
  kernel<<<grid.blocks, ConvGrid::kThreads, 0, stream>>>(p, grid, partials);
  if (packed && p.dinitial_state != nullptr) {
    const int64_t state_blocks = conv_ceil(p.batch * p.d_inner, ConvGrid::kThreads);
    if (state_blocks > INT32_MAX) return cudaErrorInvalidValue;
    packed_dinitial_state_kernel<scalar_t, kWidth>
        <<<static_cast<unsigned>(state_blocks), ConvGrid::kThreads, 0, stream>>>(p);
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
  if (vector) {
    if (const ShortLaunch launch = launch_short_bwd<kWidth>(p, stream); launch.taken) return launch.error;
  }
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
