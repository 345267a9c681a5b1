#pragma once

// Tiles of a warp of the forward on the matrix unit (fwd_matrix_kernel.cuh): 16 channels of some steps, with B and C of
// these steps, in shared memory that no other warp uses, so that no barrier is needed.
#include <cstdint>

#include "kernels/selective_scan/scan_tile.cuh"

// defines: FwdMatrixShape, fwd_matrix::Tile, fwd_matrix::TilePlaces, fwd_matrix::TileFetch

namespace mpeft::kernels {

/// A warp has 16 neighbouring channels of a row; kTimeWarps warps of a block share them and take 8 steps in turn. A
/// block has kSets such sets. kGroups groups of 8 steps make up a tile; kPolynomials of 16 exponentials run on the
/// multiply-add pipe; kBlocks blocks a multiprocessor bound the registers.
template <int kSets_, int kTimeWarps_, int kGroups_, int kPolynomials_, int kBlocks_>
struct FwdMatrixShape {
  static constexpr int kSets = kSets_, kTimeWarps = kTimeWarps_, kGroups = kGroups_, kPolynomials = kPolynomials_,
                       kBlocks = kBlocks_;
  static constexpr int kDState = 16, kWarpChannels = 16, kWarps = kSets * kTimeWarps, kThreads = kWarps * 32;
  static constexpr int kChannels = kSets * kWarpChannels, kSteps = kGroups * 8;
  static_assert(kTimeWarps == 1 ? kGroups > 1 : kGroups == 1);
  static_assert(kWarps <= 16, "a barrier a warp");
};

namespace fwd_matrix {

/// Step 2 i + j of 8 steps of B and C is in row i + 4 j: steps 0, 2, 4, 6, as 1, 3, 5, 7, then lie in different banks.
struct States {
  __nv_bfloat16 B[8][16], C[8][16];
};

template <typename Shape>
struct __align__(16) Tile {
  static constexpr int kPitch = Shape::kWarpChannels + 8;  // steps 2 apart begin in different banks
  __nv_bfloat16 u[Shape::kSteps][kPitch], delta[Shape::kSteps][kPitch], z[Shape::kSteps][kPitch];
  States states[Shape::kGroups];
};

/// What lane (g, t) reads of a group of 8 steps. Two tiles side by side are used in turn.
template <typename Shape>
class TilePlaces {
 public:
  __device__ __forceinline__ TilePlaces(const Tile<Shape>& tile, int g, int t)
      : channels_(&tile.u[2 * t][2 * g]),
        B_(&tile.states[0].B[t][2 * g]),
        C_(&tile.states[0].C[g / 2 + g % 2 * 4][4 * t]) {}

  __device__ __forceinline__ void next_group() {
    channels_ += 8 * Tile<Shape>::kPitch;
    B_ += kStates;
    C_ += kStates;
  }
  /// From behind the last group of a tile to the first of the other one.
  __device__ __forceinline__ void next_tile(bool from_first) {
    constexpr int kTile = sizeof(Tile<Shape>) / sizeof(__nv_bfloat16);
    const int distance = from_first ? kTile : -kTile;
    channels_ += distance - Shape::kSteps * Tile<Shape>::kPitch;
    B_ += distance - Shape::kGroups * kStates;
    C_ += distance - Shape::kGroups * kStates;
  }
  /// Channels 2 g and 2 g + 1 of step 2 t + j.
  __device__ __forceinline__ void u(float (&x)[2], int j) const { load(x, 0, j); }
  __device__ __forceinline__ void delta(float (&x)[2], int j) const { load(x, 1, j); }
  __device__ __forceinline__ void z(float (&x)[2], int j) const { load(x, 2, j); }
  /// States 2 g and 2 g + 1 of step 2 t + j.
  __device__ __forceinline__ uint32_t B(int j) const { return *reinterpret_cast<const uint32_t*>(B_ + 4 * 16 * j); }
  /// States 4 t .. 4 t + 3 of step g.
  __device__ __forceinline__ void C(float (&x)[4]) const { load_floats(x, C_); }

 private:
  static constexpr int kStates = sizeof(States) / sizeof(__nv_bfloat16);
  __device__ __forceinline__ void load(float (&x)[2], int tensor, int j) const {
    load_floats(x, channels_ + (tensor * Shape::kSteps + j) * Tile<Shape>::kPitch);
  }
  const __nv_bfloat16 *channels_, *B_, *C_;
};

/// Copies a warp's tiles from a row into two places in turn. A lane copies half of the channels of every 16th step, and
/// a quarter of the states of every 8th; what does not exist becomes 0.
template <typename Shape>
class TileFetch {
 public:
  __device__ __forceinline__ TileFetch(const SelectiveScanInputs<__nv_bfloat16>& p, int64_t row, const RowSpan& span,
                                       Tile<Shape>* tiles, int64_t first_channel, int first_step, int lane)
      : states_left_(static_cast<int>(span.length) - first_step) {
    auto start = [&](const Sequence<const __nv_bfloat16>& x, int step, int64_t column) {
      return x.data + row_offset(x, row, span) + (first_step + step) * x.time_stride + column;
    };
    const int step = lane / 2, half = lane % 2 * 8, state_step = lane / 4, quarter = lane % 4;
    channels_left_ = first_channel + half < p.d_inner ? states_left_ : INT32_MIN / 2;
    u_ = start(p.u, step, first_channel + half);
    delta_ = start(p.delta, step, first_channel + half);
    z_ = start(p.z, step, first_channel + half);
    states_ = quarter < 2 ? start(p.B, state_step, quarter * 8) : start(p.C, state_step, quarter * 8 - 16);
    states_stride_ = static_cast<int>(quarter < 2 ? p.B.time_stride : p.C.time_stride);
    channels_to_ = &tiles->u[step % Shape::kSteps][half];
    states_to_ =
        &tiles->states[0].B[0][0] + (state_step / 2 + state_step % 2 * 4 + quarter / 2 * 8) * 16 + quarter % 2 * 8;
  }

  /// Starts the copy of a tile; the one after it begins kAdvance steps later and goes to the other place.
  template <int kAdvance>
  __device__ __forceinline__ void next(const SelectiveScanInputs<__nv_bfloat16>& p, int lane, bool to_first) {
    constexpr int kRows = 16, kPasses = (Shape::kSteps + kRows - 1) / kRows, kPitch = Tile<Shape>::kPitch;
    const int u_stride = static_cast<int>(p.u.time_stride), delta_stride = static_cast<int>(p.delta.time_stride),
              z_stride = static_cast<int>(p.z.time_stride);
    if (Shape::kSteps >= kRows || lane / 2 < Shape::kSteps) {
#pragma unroll
      for (int k = 0; k < kPasses; ++k) {
        const bool exists = lane / 2 + k * kRows < channels_left_;
        __nv_bfloat16* const to = channels_to_ + k * kRows * kPitch;
        kernels::detail::copy_async(to + Shape::kSteps * kPitch, delta_ + k * kRows * delta_stride, exists);
        kernels::detail::copy_async(to, u_ + k * kRows * u_stride, exists);
        kernels::detail::copy_async(to + 2 * Shape::kSteps * kPitch, z_ + k * kRows * z_stride, exists);
      }
    }
#pragma unroll
    for (int k = 0; k < Shape::kGroups; ++k) {
      kernels::detail::copy_async(states_to_ + k * static_cast<int>(sizeof(States) / sizeof(__nv_bfloat16)),
                                  states_ + k * 8 * states_stride_, lane / 4 + 8 * k < states_left_);
    }
    copy_async_commit();
    u_ += int64_t{kAdvance} * u_stride;
    delta_ += int64_t{kAdvance} * delta_stride;
    z_ += int64_t{kAdvance} * z_stride;
    states_ += int64_t{kAdvance} * states_stride_;
    states_left_ -= kAdvance;
    channels_left_ -= kAdvance;
    constexpr int kTile = sizeof(Tile<Shape>) / sizeof(__nv_bfloat16);
    channels_to_ += to_first ? kTile : -kTile;
    states_to_ += to_first ? kTile : -kTile;
  }

 private:
  int states_left_, channels_left_, states_stride_;  // left: steps up to the row's end
  const __nv_bfloat16 *u_, *delta_, *z_, *states_;
  __nv_bfloat16 *channels_to_, *states_to_;
};

/// Waits for all but the latest copy this thread has started.
__device__ __forceinline__ void wait_for_older_copies() { asm volatile("cp.async.wait_group 1;" ::: "memory"); }

}  // namespace fwd_matrix
}  // namespace mpeft::kernels
