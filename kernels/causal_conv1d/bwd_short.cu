// Depthwise causal convolution, backward, of few steps and channels.
//
// Equation: bwd.cu.
// Mapping: a thread has kWalk steps of kVec neighbouring channels. It loads them, and the width - 1 steps before and
//   behind them, all at once; without tests where all of them exist, because branches in front of the loads cost such
//   a launch 8 %. The lanes of a warp hold neighbouring channels, the warps of a block consecutive walks; blocks
//   (channels; steps; rows). With dweight or dbias all blocks of a channel are one cluster: each adds the sums of its
//   warps and writes them into the first one's shared memory, which adds those. Nothing else is launched.
// Accumulation: float, in a fixed order.
// Limits: no packed rows; rows on 16-byte boundaries; at most kMostInCluster blocks of a channel, and as many in all as
//   fit side by side on an H200; with sums only code for sm_90 and later.
#include <cooperative_groups.h>
#include <type_traits>

#include "kernels/causal_conv1d/bwd_short.h"
#include "kernels/causal_conv1d/window.cuh"
#include "kernels/common/cuda_launch.cuh"

namespace mpeft::kernels {
namespace {

constexpr int kLanes = 32, kWarps = 8, kThreads = kLanes * kWarps;
constexpr int kVec = 2, kWalk = 8;  // channels and steps of a thread
constexpr int kBlocksThatFit = 3;   // on a multiprocessor, by their registers
constexpr int kMostInCluster = 8;   // what every device with clusters takes

/// Sums of a block's warps, and in a cluster's first block those of its blocks: of dweight[c][k], then dbias[c], each
/// of all lanes.
template <int kSums>
struct ShortSums {
  float of_warps[kWarps][kSums][kLanes], of_blocks[kMostInCluster][kSums * kLanes];
};

/// Arrives at the cluster's barrier without making writes visible: there are none yet.
__device__ __forceinline__ void begin_cluster() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
#endif
}

/// Adds `sums` over the warps and blocks of the cluster, in order, behind begin_cluster. In its first block
/// add(i, lane, sum) is called for each of them.
template <int kSums, typename Add>
__device__ __forceinline__ void add_cluster(const float (&sums)[kSums], ShortSums<kSums>& shared, const Add& add) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  constexpr int kPlaces = kSums * kLanes;
  const auto cluster = cooperative_groups::this_cluster();
  const int warp = static_cast<int>(threadIdx.x) / kLanes, lane = threadIdx.x % kLanes;
#pragma unroll
  for (int i = 0; i < kSums; ++i) shared.of_warps[warp][i][lane] = sums[i];
  __syncthreads();
  cluster.barrier_wait();  // the first block has begun, so its shared memory is there
  float* const to = cluster.map_shared_rank(shared.of_blocks[cluster.block_rank()], 0);
#pragma unroll
  for (int place = threadIdx.x; place < kPlaces; place += kThreads) {
    float sum = 0.f;
#pragma unroll
    for (int other = 0; other < kWarps; ++other) sum += shared.of_warps[other][place / kLanes][place % kLanes];
    to[place] = sum;
  }
  cluster.barrier_arrive();
  if (cluster.block_rank() != 0) return;
  cluster.barrier_wait();
  const int blocks = static_cast<int>(cluster.num_blocks());
#pragma unroll
  for (int place = threadIdx.x; place < kPlaces; place += kThreads) {
    float sum = 0.f;
#pragma unroll
    for (int block = 0; block < kMostInCluster; ++block) {
      if (block < blocks) sum += shared.of_blocks[block][place];
    }
    add(place / kLanes, place % kLanes, sum);
  }
#endif
}

template <typename scalar_t, int kWidth, bool kSums>
__global__ void __launch_bounds__(kThreads, kBlocksThatFit)
    causal_conv1d_short_bwd_kernel(const CausalConv1dBwdParams<scalar_t> p) {
  constexpr int kHalo = kWidth - 1, kInputs = kWalk + kHalo;
  using Raw = RawVector<scalar_t, kVec>;
  if constexpr (kSums) begin_cluster();
  const int lane = threadIdx.x % kLanes;
  const int64_t channel = (int64_t{blockIdx.x} * kLanes + lane) * kVec, row = blockIdx.z;
  const int first_step = static_cast<int>((blockIdx.y * kWarps + threadIdx.x / kLanes) * kWalk);
  const bool exists = channel < p.d_inner && first_step < p.seqlen;
  float sums[kVec * (kWidth + 1)] = {};

  if (exists) {
    const int length = static_cast<int>(row_length(p.lengths, row, p.seqlen));
    const int64_t x_stride = p.x.time_stride, dout_stride = p.dout.time_stride, dx_stride = p.dx.time_stride;
    const scalar_t* x_from = p.x.data + row * p.x.batch_stride + (first_step - kHalo) * x_stride + channel;
    const scalar_t* dout_from = p.dout.data + row * p.dout.batch_stride + first_step * dout_stride + channel;
    Raw x[kHalo + kInputs] = {}, dout[kInputs] = {};  // of the steps from first_step - kHalo, and first_step, on
    auto load = [&](auto all) {                       // all: of these steps have inputs
      constexpr bool kAll = decltype(all)::value;
#pragma unroll
      for (int i = 0; i < kHalo + kInputs; ++i) {
        const int step = first_step + i - kHalo;
        if (kAll || (step >= 0 && step < length)) {
          x[i].load(x_from);
          if (i >= kHalo) dout[i - kHalo].load(dout_from);
        }
        x_from += x_stride;
        if (i >= kHalo) dout_from += dout_stride;
      }
    };
    if (first_step > 0 && first_step + kInputs <= length) {
      load(std::true_type{});
    } else {
      load(std::false_type{});
      if (first_step == 0 && p.initial_state != nullptr) {
#pragma unroll
        for (int i = 0; i < kHalo; ++i) {
          x[i].load(p.initial_state + row * p.initial_state_batch_stride + i * p.d_inner + channel);
        }
      }
    }
    float weight[kWidth][kVec], bias[kVec];
    load_taps<kWidth>(weight, bias, p, channel);

    scalar_t* dx_to = p.dx.data + row * p.dx.batch_stride + first_step * dx_stride + channel;
    const int stored = p.dx.data != nullptr ? static_cast<int>(p.seqlen) - first_step : 0;
    // of the steps from first_step - kHalo on; 0 before the row and in its padding
    float g[kHalo + kInputs][kVec] = {};
    float window[kWidth][kVec];
#pragma unroll
    for (int i = 0; i < kHalo; ++i) x[i].widen(window[i + 1]);
#pragma unroll
    for (int i = 0; i < kInputs; ++i) {
      float dout_i[kVec];
      dout[i].widen(dout_i);
#pragma unroll
      for (int k = 0; k < kHalo; ++k) {
#pragma unroll
        for (int c = 0; c < kVec; ++c) window[k][c] = window[k + 1][c];
      }
      x[kHalo + i].widen(window[kHalo]);
#pragma unroll
      for (int c = 0; c < kVec; ++c) {
        float sum = bias[c];
#pragma unroll
        for (int k = 0; k < kWidth; ++k) sum = fmaf(weight[k][c], window[k][c], sum);
        g[kHalo + i][c] = p.silu ? dout_i[c] * conv_silu_derivative<scalar_t>(sum) : dout_i[c];
        if (kSums && i < kWalk) {  // those behind the walk are another's
          const float own = g[kHalo + i][c];
#pragma unroll
          for (int k = 0; k < kWidth; ++k) sums[c * kWidth + k] = fmaf(own, window[k][c], sums[c * kWidth + k]);
          sums[kVec * kWidth + c] += own;
        }
      }
      if (i < kHalo) continue;
      // of step i - kHalo, whose gradients are all here now
      float dx[kVec] = {};
#pragma unroll
      for (int k = 0; k < kWidth; ++k) {
#pragma unroll
        for (int c = 0; c < kVec; ++c) dx[c] = fmaf(weight[kHalo - k][c], g[i + k][c], dx[c]);
      }
      if (i - kHalo < stored) store_floats(dx_to, dx);
      dx_to += dx_stride;
    }
    if (first_step == 0 && p.dinitial_state != nullptr) {
#pragma unroll
      for (int i = 0; i < kHalo; ++i) {  // of step i - kHalo
        float dx[kVec] = {};
#pragma unroll
        for (int k = 0; k < kWidth; ++k) {
#pragma unroll
          for (int c = 0; c < kVec; ++c) dx[c] = fmaf(weight[kHalo - k][c], g[i + k][c], dx[c]);
        }
        store_floats(p.dinitial_state + (row * kHalo + i) * p.d_inner + channel, dx);
      }
    }
  }

  if constexpr (kSums) {
    __shared__ ShortSums<kVec*(kWidth + 1)> shared;
    add_cluster(sums, shared, [&](int i, int of_lane, float sum) {
      const int64_t at = channel + (of_lane - lane) * kVec;
      if (at >= p.d_inner) return;
      if (i < kVec * kWidth) {
        if (p.dweight != nullptr) p.dweight[at * kWidth + i] = sum;
      } else if (p.dbias != nullptr) {
        p.dbias[at + i - kVec * kWidth] = sum;
      }
    });
  }
}

/// How the kernel is launched; in_clusters: all blocks of a channel are one.
struct ShortConfig {
  ShortConfig(dim3 grid, bool in_clusters, cudaStream_t stream) {
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim = {1, grid.y, grid.z};
    launch.gridDim = grid;
    launch.blockDim = dim3(kThreads);
    launch.stream = stream;
    launch.attrs = &cluster;
    launch.numAttrs = in_clusters ? 1 : 0;
  }
  ShortConfig(const ShortConfig&) = delete;
  ShortConfig& operator=(const ShortConfig&) = delete;

  cudaLaunchAttribute cluster{};
  cudaLaunchConfig_t launch{};
};

/// Whether the current device runs the kernel in the largest clusters.
template <typename Kernel>
bool takes_clusters(Kernel kernel) {
  if (compiled_architecture(kernel) < 900) return false;
  const ShortConfig largest(dim3(1, kMostInCluster), true, nullptr);
  int clusters = 0;
  if (cudaOccupancyMaxActiveClusters(&clusters, kernel, &largest.launch) != cudaSuccess) cudaGetLastError();
  return clusters > 0;
}

template <typename scalar_t, int kWidth, bool kSums>
ShortLaunch launch(const CausalConv1dBwdParams<scalar_t>& p, dim3 grid, cudaStream_t stream) {
  auto* const kernel = causal_conv1d_short_bwd_kernel<scalar_t, kWidth, kSums>;
  static OncePerDevice clusters;
  if (kSums && !clusters.ask([kernel] { return takes_clusters(kernel); })) return {};
  const ShortConfig config(grid, kSums, stream);
  return {true, cudaLaunchKernelEx(&config.launch, kernel, p)};
}

}  // namespace

template <int kWidth, typename scalar_t>
ShortLaunch launch_short_bwd(const CausalConv1dBwdParams<scalar_t>& p, cudaStream_t stream) {
  if (p.cu_seqlens != nullptr || p.batch > kMostInCluster || p.seqlen > kMostInCluster * kWarps * kWalk) return {};
  const dim3 grid(static_cast<unsigned>(conv_ceil(p.d_inner, kLanes * kVec)),
                  static_cast<unsigned>(conv_ceil(p.seqlen, kWarps * kWalk)), static_cast<unsigned>(p.batch));
  if (grid.y * grid.z > kMostInCluster || grid.x * grid.y * grid.z > kBlocksThatFit * kConvMultiprocessors) return {};
  const bool sums = p.dweight != nullptr || p.dbias != nullptr;
  return sums ? launch<scalar_t, kWidth, true>(p, grid, stream) : launch<scalar_t, kWidth, false>(p, grid, stream);
}

#define MPEFT_INSTANTIATE(kWidth)                                                                           \
  template ShortLaunch launch_short_bwd<kWidth>(const CausalConv1dBwdParams<float>&, cudaStream_t);         \
  template ShortLaunch launch_short_bwd<kWidth>(const CausalConv1dBwdParams<__nv_bfloat16>&, cudaStream_t); \
  template ShortLaunch launch_short_bwd<kWidth>(const CausalConv1dBwdParams<__half>&, cudaStream_t);
MPEFT_INSTANTIATE(2)
MPEFT_INSTANTIATE(3)
MPEFT_INSTANTIATE(4)
#undef MPEFT_INSTANTIATE

}  // namespace mpeft::kernels
