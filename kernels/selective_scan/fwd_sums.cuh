#pragma once

// The forward's sums over the lanes of a channel, in the two ways there are: ChannelSums::add takes a lane's part of
// step q (of a group) and channel c, finish_step puts the sums that are complete by then into y_tile.
#include "kernels/selective_scan/scan_math.cuh"

// defines: ChannelSums

namespace mpeft::kernels {
namespace detail {

/// values[k], k < kLanes, hold this lane's part of step k; afterwards values[0] is the sum over lanes of step `lane`.
template <int kLanes>
__device__ __forceinline__ void reduce_scatter(float (&values)[kLanes], int lane) {
#pragma unroll
  for (int width = kLanes / 2; width > 0; width /= 2) {
    const bool upper = lane & width;
#pragma unroll
    for (int k = 0; k < width; ++k) {
      const float send = upper ? values[k] : values[k + width], keep = upper ? values[k + width] : values[k];
      values[k] = keep + __shfl_xor_sync(0xffffffffu, send, width);
    }
  }
}

}  // namespace detail

/// By shuffles, every kLanes steps.
template <typename scalar_t, typename Shape, bool kMatrix = Shape::kMatrixSum>
struct ChannelSums {
  static constexpr int kLanes = Shape::kLanes;
  float parts[Shape::kLaneChannels][kLanes];

  __device__ __forceinline__ void add(int q, int c, float part) { parts[c][q % kLanes] = part; }

  template <typename Tile>
  __device__ __forceinline__ void finish_step(Tile& y_tile, int group, int q, int channel, int lane) {
    if (q % kLanes != kLanes - 1) return;
#pragma unroll
    for (int c = 0; c < Shape::kLaneChannels; ++c) detail::reduce_scatter<kLanes>(parts[c], lane);
    float* at = &y_tile[group + q - (kLanes - 1) + lane][channel];
    if constexpr (Shape::kLaneChannels == 2) {
      *reinterpret_cast<float2*>(at) = make_float2(parts[0][0], parts[1][0]);
    } else {
      *at = parts[0][0];
    }
  }
};

/// By the matrix unit. A lane's four latest parts are its place in the left operand (16 x 8): rows are the warp's
/// groups of 4 lanes, twice, columns are lanes of a group, twice. Its product with a 0/1 matrix adds the columns and
/// puts the sums of the q-th such product into columns 2 q and 2 q + 1 of the result (16 x 8), which after 4 products
/// is full: lane l of a group of 4 then holds the parts of product l, in the order 0, 2, 1, 3.
template <typename scalar_t, typename Shape>
struct ChannelSums<scalar_t, Shape, true> {
  static constexpr int kLaneChannels = Shape::kLaneChannels, kPartSteps = 4 / kLaneChannels;
  float parts[4], sums[4] = {};

  __device__ __forceinline__ void add(int q, int c, float part) { parts[q % kPartSteps * kLaneChannels + c] = part; }

  template <typename Tile>
  __device__ __forceinline__ void finish_step(Tile& y_tile, int group, int q, int channel, int) {
    if (q % kPartSteps != kPartSteps - 1) return;
    const int quad = threadIdx.x % 32 / 4, product = q / kPartSteps;
    detail::mma_tf32(sums, parts, quad == 2 * product ? 1.f : 0.f, quad == 2 * product + 1 ? 1.f : 0.f);
    if (product != 3) return;
    const int t = group + threadIdx.x % 4 * kPartSteps;
    if constexpr (Shape::kLanes == 4 && kLaneChannels == 1) {
      y_tile[t][channel] = sums[0];
      y_tile[t + 1][channel] = sums[2];
      y_tile[t + 2][channel] = sums[1];
      y_tile[t + 3][channel] = sums[3];
    } else if constexpr (Shape::kLanes == 4) {
      *reinterpret_cast<float2*>(&y_tile[t][channel]) = make_float2(sums[0], sums[2]);
      *reinterpret_cast<float2*>(&y_tile[t + 1][channel]) = make_float2(sums[1], sums[3]);
    } else {  // two groups of lanes a channel: each ends up with half of the sums of both
      const bool upper = quad & 1;
      const float send0 = upper ? sums[0] : sums[1], send1 = upper ? sums[2] : sums[3];
      const float first = (upper ? sums[1] : sums[0]) + __shfl_xor_sync(0xffffffffu, send0, 4);
      const float second = (upper ? sums[3] : sums[2]) + __shfl_xor_sync(0xffffffffu, send1, 4);
      if constexpr (kLaneChannels == 1) {
        y_tile[t + (upper ? 2 : 0)][channel] = first;
        y_tile[t + (upper ? 3 : 1)][channel] = second;
      } else {
        *reinterpret_cast<float2*>(&y_tile[t + (upper ? 1 : 0)][channel]) = make_float2(first, second);
      }
    }
  }
};

}  // namespace mpeft::kernels
