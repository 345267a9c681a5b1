#pragma once

#include <cstdint>

#include "kernels/common/async_copy.cuh"
#include "kernels/decode_step/decode_step_params.h"
#include "kernels/decode_step/overlap.cuh"
#include "kernels/decode_step/tensor_core.cuh"

// defines: kWideThreads, WideTile, wide_product
//
// Tens of rows times a large matrix: the time is that of bringing both to the SMs, through the second-level cache. A
// block owns kFeatures output features and kRows rows; both pass through a ring of kStages in shared memory, 128 of
// in_features at a time. A quarter of the warps takes every fourth 32 of them, so that a stage is read once or twice
// and not by every warp; the four sums of an output are added in a fixed order.

namespace mpeft::kernels {

inline constexpr int kWideThreads = 256;

/// A block's operands while it multiplies; then its product, value(row, feature).
template <int kFeatures_, int kRows_, int kStages_>
struct WideTile {
  static constexpr int kFeatures = kFeatures_, kRows = kRows_, kStages = kStages_;
  static constexpr int kChunk = 128, kColumns = kChunk / 8;  // in_features of a stage, in vectors of 16 bytes
  static constexpr int kParts = 4;
  // floats; 4 more than a multiple of the banks: a warp's sums then lie in different ones
  static constexpr int kPitch = kFeatures + 4;
  static_assert(kFeatures % 32 == 0 && kRows % 8 == 0);
  union {
    uint4 stage[kStages][kFeatures + kRows][kColumns];
    float part[kParts][kRows][kPitch];
  };

  /// Features [feature, + 4) of a row.
  __device__ __forceinline__ void value(float (&sum)[4], int row, int feature) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) sum[i] = 0.f;
#pragma unroll
    for (int k = 0; k < kParts; ++k) {
      const float4 x = *reinterpret_cast<const float4*>(&part[k][row][feature]);
      sum[0] += x.x, sum[1] += x.y, sum[2] += x.z, sum[3] += x.w;
    }
  }
};

/// Fills `tile` with rows [first_row, + n_rows) times features [first_feature, + kFeatures); ends with a barrier. Calls
/// before_wait() and after_wait() for copies of the caller's to shared memory, of constants and of all else: they are
/// complete when this returns.
template <typename Tile, typename scalar_t, typename BeforeWait, typename AfterWait>
__device__ __forceinline__ void wide_product(Tile& tile, const DecodeLinearParams<scalar_t>& p, int64_t first_feature,
                                             int64_t first_row, int n_rows, const BeforeWait& before_wait,
                                             const AfterWait& after_wait) {
  constexpr int kFeatures = Tile::kFeatures, kRows = Tile::kRows, kStages = Tile::kStages, kChunk = Tile::kChunk;
  constexpr int kCopyRows = kWideThreads / Tile::kColumns;  // rows that a block copies at a time
  const int n_chunks = static_cast<int>((p.in_features + kChunk - 1) / kChunk);

  // A lane of the product reads 16 bytes of each of 8 rows, 64 together: odd rows have their halves of 128 swapped, so
  // that two rows lie in different banks.
  const auto swapped = [](int row, int column) { return column ^ (row % 2 * 4); };
  const int copy_row = static_cast<int>(threadIdx.x) / Tile::kColumns, column = threadIdx.x % Tile::kColumns;
  const int place = swapped(copy_row, column);
  const scalar_t* const weight = p.weight + (first_feature + copy_row) * p.in_features + 8 * column;
  const scalar_t* const x = p.x + (first_row + copy_row) * p.in_features + 8 * column;
  const int n_features = static_cast<int>(min(static_cast<int64_t>(kFeatures), p.out_features - first_feature));
  // what lies past an end is zero
  const auto copy = [&](uint4(*to)[Tile::kColumns], const scalar_t* from, int chunk, auto rows, int n) {
    const bool is_inside = chunk * kChunk + 8 * column < p.in_features;
#pragma unroll
    for (int i = 0; i < rows.value; i += kCopyRows) {
      const int row = i + copy_row;
      if (rows.value % kCopyRows != 0 && row >= rows.value) break;
      copy_async(&to[row][place], from + (i * p.in_features + chunk * kChunk), is_inside && row < n);
    }
  };
  const auto copy_weights = [&](int chunk, int stage) {
    copy(tile.stage[stage], weight, chunk, std::integral_constant<int, kFeatures>{}, n_features);
  };
  const auto copy_rows = [&](int chunk, int stage) {
    copy(tile.stage[stage] + kFeatures, x, chunk, std::integral_constant<int, kRows>{}, n_rows);
  };

  for (int chunk = 0; chunk < kStages && chunk < n_chunks; ++chunk) copy_weights(chunk, chunk);
  before_wait();
  wait_for_previous_kernel();
  for (int chunk = 0; chunk < kStages; ++chunk) {
    if (chunk < n_chunks) copy_rows(chunk, chunk);
    copy_async_commit();
  }
  after_wait();

  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, group = lane / 4, quarter = lane % 4;
  const int part = warp % Tile::kParts, first = warp / Tile::kParts * (kFeatures / 2);  // this warp's share
  const int source = swapped(group, 4 * part + quarter);
  constexpr int kFeatureTiles = kFeatures / 32, kRowTiles = kRows / 8;
  float sum[kFeatureTiles][kRowTiles][4] = {};
  struct Operands {
    uint4 low[kFeatureTiles], high[kFeatureTiles], row[kRowTiles];
  };
  const auto load = [&](Operands& x, int stage) {
#pragma unroll
    for (int f = 0; f < kFeatureTiles; ++f) {
      x.low[f] = tile.stage[stage][first + 16 * f + group][source];
      x.high[f] = tile.stage[stage][first + 16 * f + group + 8][source];
    }
#pragma unroll
    for (int t = 0; t < kRowTiles; ++t) x.row[t] = tile.stage[stage][kFeatures + 8 * t + group][source];
  };
  // A chunk is multiplied while the next one's operands are on their way to registers.
  int stage = 0;
  const auto step = [&](int chunk, const Operands& x, Operands& next) {
    copy_async_wait<kStages - 2>();
    __syncthreads();  // the next chunk is there for every warp, and each has its operands of this one
    if (chunk + kStages < n_chunks) {
      copy_weights(chunk + kStages, stage);
      copy_rows(chunk + kStages, stage);
    }
    copy_async_commit();
    stage = stage + 1 == kStages ? 0 : stage + 1;
    if (chunk + 1 < n_chunks) load(next, stage);
#pragma unroll
    for (int t = 0; t < kRowTiles; ++t) {
#pragma unroll
      for (int f = 0; f < kFeatureTiles; ++f) multiply_add(sum[f][t], scalar_t{}, x.low[f], x.high[f], x.row[t]);
    }
  };
  Operands even, odd;
  copy_async_wait<kStages - 1>();
  __syncthreads();
  load(even, 0);
  for (int chunk = 0; chunk < n_chunks; chunk += 2) {
    step(chunk, even, odd);
    if (chunk + 1 < n_chunks) step(chunk + 1, odd, even);
  }
  copy_async_wait();
  __syncthreads();  // the sums take the operands' place
#pragma unroll
  for (int f = 0; f < kFeatureTiles; ++f) {
#pragma unroll
    for (int t = 0; t < kRowTiles; ++t) {
      float* const at = &tile.part[part][8 * t + 2 * quarter][first + 16 * f + group];
      at[0] = sum[f][t][0];
      at[Tile::kPitch] = sum[f][t][1];
      at[8] = sum[f][t][2];
      at[Tile::kPitch + 8] = sum[f][t][3];
    }
  }
  __syncthreads();
}

}  // namespace mpeft::kernels
