#pragma once

#include "kernels/decode_step/conv_window.cuh"
#include "kernels/decode_step/wide_product.cuh"

// defines: decode_linear_wide_kernel, decode_in_proj_conv_wide_kernel, WideInProjTile
//
// Mapping: grid (tiles of features, parts of the rows); a thread writes 4 neighbouring features of a row at a time.

namespace mpeft::kernels {

template <typename scalar_t, typename Tile>
__global__ void __launch_bounds__(kWideThreads, 1)
    decode_linear_wide_kernel(DecodeLinearParams<scalar_t> p, int rows_of_part) {
  extern __shared__ uint4 shared[];
  Tile& tile = *reinterpret_cast<Tile*>(shared);
  constexpr int kFours = Tile::kFeatures / 4;
  const int64_t first_feature = static_cast<int64_t>(blockIdx.x) * Tile::kFeatures;
  const int64_t first_row = static_cast<int64_t>(blockIdx.y) * rows_of_part;
  const int n_rows = static_cast<int>(min(static_cast<int64_t>(rows_of_part), p.rows - first_row));
  wide_product(
      tile, p, first_feature, first_row, n_rows, [] {}, [] {});
  for (int i = threadIdx.x; i < n_rows * kFours; i += kWideThreads) {
    const int row = i / kFours, feature = i % kFours * 4;
    if (first_feature + feature >= p.out_features) continue;
    float sum[4];
    tile.value(sum, row, feature);
    store_floats(p.y + (first_row + row) * p.out_features + first_feature + feature, sum);
  }
}

/// The product's tile, and what the convolution's step behind it reads.
template <typename scalar_t, typename Tile>
struct WideInProjTile {
  Tile product;
  alignas(16) scalar_t window[Tile::kRows][kMaxWidth - 1][Tile::kFeatures];
  alignas(16) float weight[Tile::kFeatures * kMaxWidth];
  alignas(16) float bias[Tile::kFeatures];
};

template <typename scalar_t, typename Tile>
__global__ void __launch_bounds__(kWideThreads, 1)
    decode_in_proj_conv_wide_kernel(DecodeLinearParams<scalar_t> p, DecodeConvParams<scalar_t> conv, scalar_t* z,
                                    int rows_of_part) {
  extern __shared__ uint4 shared[];
  auto& tile = *reinterpret_cast<WideInProjTile<scalar_t, Tile>*>(shared);
  constexpr int kFeatures = Tile::kFeatures, kFours = kFeatures / 4, kEights = kFeatures / 8;
  const int64_t first_feature = static_cast<int64_t>(blockIdx.x) * kFeatures;
  const int64_t first_row = static_cast<int64_t>(blockIdx.y) * rows_of_part;
  const int n_rows = static_cast<int>(min(static_cast<int64_t>(rows_of_part), p.rows - first_row));
  const int taps = static_cast<int>(conv.width) - 1;
  // the first of the tile's features are x, the others z
  const int n_channels =
      static_cast<int>(min(static_cast<int64_t>(kFeatures), max(conv.d_inner - first_feature, int64_t{0})));

  const auto copy_constants = [&] {
    const int n_weights = n_channels * static_cast<int>(conv.width);
    for (int i = 4 * static_cast<int>(threadIdx.x); i < n_weights; i += 4 * kWideThreads)
      copy_async(&tile.weight[i], conv.weight + first_feature * conv.width + i, true);
    if (const int i = 4 * static_cast<int>(threadIdx.x); conv.bias != nullptr && i < n_channels)
      copy_async(&tile.bias[i], conv.bias + first_feature + i, true);
  };
  const auto copy_windows = [&] {
    constexpr int kItems = (Tile::kRows * kEights + kWideThreads - 1) / kWideThreads;
    const int channel = threadIdx.x % kEights * 8, first = threadIdx.x / kEights;
    constexpr int kStep = kWideThreads / kEights;
    if (channel >= n_channels) return;
    int64_t from[kItems];  // all of them asked for before the first is needed
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      const int row = first + i * kStep;
      from[i] = conv.parents != nullptr && row < n_rows ? conv.parents[first_row + row] : first_row + row;
    }
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      const int row = first + i * kStep;
      if (row >= n_rows) break;
      const scalar_t* const window = conv.state + from[i] * taps * conv.d_inner + first_feature + channel;
      for (int tap = 0; tap < taps; ++tap)
        copy_async(&tile.window[row][tap][channel], window + tap * conv.d_inner, true);
    }
  };
  wide_product(tile.product, p, first_feature, first_row, n_rows, copy_constants, copy_windows);

  const int feature = threadIdx.x % kFours * 4;  // the same for all of a thread's rows
  static_assert(kWideThreads % kFours == 0);
  if (first_feature + feature >= p.out_features) return;
  const bool is_z = feature >= n_channels;
  ConvOfFour<scalar_t> channels;
  if (!is_z) {
    channels.load(&tile.weight[feature * conv.width], conv.bias != nullptr ? &tile.bias[feature] : nullptr, conv.width);
  }
  for (int row = threadIdx.x / kFours; row < n_rows; row += kWideThreads / kFours) {
    float sum[4];
    tile.product.value(sum, row, feature);
    RawVector<scalar_t, 4> stored;
    stored.narrow(sum);
    if (is_z) {
      stored.store(z + (first_row + row) * conv.d_inner + first_feature + feature - conv.d_inner);
    } else {
      channels.step(conv, first_row + row, first_feature + feature, &tile.window[row][0][feature], kFeatures, stored);
    }
  }
}

}  // namespace mpeft::kernels
