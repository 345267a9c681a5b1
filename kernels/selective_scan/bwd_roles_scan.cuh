#pragma once

#include "kernels/selective_scan/bwd_carry.cuh"
#include "kernels/selective_scan/bwd_half.cuh"
#include "kernels/selective_scan/bwd_roles_shape.cuh"

// defines, in bwd_roles: Walk, scan
//
// Backward by roles: the warps that scan, 16 channels each. A lane walks a half of a tile, 8 steps, back in time with
// g_t and v_t, kept with a_t; then on from the state before the half with h_t, which need not be kept (BwdHalf's
// gradients_first, of which this is the work without what the other roles do).

namespace mpeft::kernels::bwd_roles {

/// One half of one tile. What lies where is found anew for each: registers are short between two.
class Walk {
 public:
  static constexpr int kLane = Shape::kLaneChannels;
  using LaneStates = BwdLaneStates<Shape, false>;
  using StepSums = BwdStepSums<Shape>;

  /// Before the first half.
  __device__ __forceinline__ static void keep_places(Shared& s, const BwdLane<Shape>& lane) {
    auto bytes = [&](const float* place) {
      return static_cast<int>(reinterpret_cast<const char*>(place) - reinterpret_cast<const char*>(&s));
    };
    const Prepared& tile = s.tile[0];
    const int warp = static_cast<int>(threadIdx.x) / 32;
    auto& partial = s.dBC[warp * Shape::kPartials + lane.partial];
    s.lane[threadIdx.x] = {bytes(&tile.step[0][place_of_pair(lane.channel)]),
                           bytes(&tile.step[lane.g / Shape::kPartials][place_of_pair(column_channel<Shape>(lane))]),
                           bytes(&tile.BC[0][lane.group * 4]),
                           bytes(&partial[lane.tig][dBC_place<Shape>(lane.tig, lane.group)].x)};
    s.sums_place[threadIdx.x] =
        bytes(&s.sums[0][first_kept_step<Shape>(static_cast<int>(threadIdx.x))][place_of_pair(lane.channel)]);
  }

  __device__ __forceinline__ Walk(Shared& shared, int slot, int half) : s(shared) {
    const auto thread = static_cast<unsigned>(fresh_thread_index());
    column_step = thread % 32 / 8;
    second_partial = (thread & 16) != 0;
    LanePlaces own;  // read anew each time: volatile
    asm volatile("ld.shared.v4.s32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(own.pairs), "=r"(own.column), "=r"(own.BC), "=r"(own.dBC)
                 : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(&s.lane[thread]))));
    auto* const base = reinterpret_cast<char*>(&s);
    const int tile = slot * static_cast<int>(sizeof(Prepared)), steps = half * kHalfSteps;
    const int rows = tile + steps * static_cast<int>(sizeof(Prepared::step[0])),
              dBC_rows = steps * static_cast<int>(sizeof(s.dBC[0][0]));
    pairs = reinterpret_cast<const float*>(base + (own.pairs + rows));
    column = reinterpret_cast<const float*>(base + (own.column + rows));
    BC = reinterpret_cast<const float*>(base + (own.BC + tile + steps * static_cast<int>(sizeof(Prepared::BC[0]))));
    dB = reinterpret_cast<float*>(base + (own.dBC + dBC_rows));
    // dBC_place is an exclusive or: the quads of dC are those of dB with one bit turned
    constexpr int kTurned = Shape::kGroups * static_cast<int>(sizeof(float4));
    dC = reinterpret_cast<float*>(base + ((own.dBC ^ kTurned) + dBC_rows));
  }

  /// Leaves dB and dC of the warp in shared memory, and in sums S1 and S2 of the steps from first_kept_step.
  __device__ __forceinline__ void run(LaneStates& own, StepSums& sums, int half) const {
    float a[kHalfSteps][kLane][4], v[kHalfSteps][kLane][4], h[kLane][4];
#pragma unroll
    for (int c = 0; c < kLane; ++c) load_floats(h[c], &s.h_before[half][c][fresh_thread_index()].x);
#pragma unroll
    for (int product = kProducts - 1; product >= 0; --product) {
      Sums sum;
      sum.begin(column + product * kProductSteps * kRow + kLane);
#pragma unroll
      for (int q = kProductSteps - 1; q >= 0; --q) {
        const int t = product * kProductSteps + q;
        float x[2 * kLane], dy[kLane], B[4], C[4], g[kLane][4];
        load_floats(x, pairs + t * kRow);
        load_floats(dy, pairs + kToDy + t * kRow);
        load_floats(B, BC + t * 2 * kDState);
        load_floats(C, BC + t * 2 * kDState + kDState);
#pragma unroll
        for (int c = 0; c < kLane; ++c) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            a[t][c][i] = decay<scalar_t>(x[c] * own.A[c][i]);
            g[c][i] = fmaf(dy[c], C[i], own.v[c][i]);
            own.v[c][i] = v[t][c][i] = a[t][c][i] * g[c][i];
            sums.S1[t][c] = i == 0 ? g[c][i] * B[i] : fmaf(g[c][i], B[i], sums.S1[t][c]);
          }
        }
        add(sum, q, g);
      }
      store(dB + product * kProductSteps * 2 * kDState, sum);
    }
    sum_over_states<Shape>(sums.S1);
#pragma unroll
    for (int product = 0; product < kProducts; ++product) {
      Sums sum;
      sum.begin(column + kToDy + product * kProductSteps * kRow);
#pragma unroll
      for (int q = 0; q < kProductSteps; ++q) {
        const int t = product * kProductSteps + q;
        float x[2 * kLane], B[4];
        load_floats(x, pairs + t * kRow);
        load_floats(B, BC + t * 2 * kDState);
#pragma unroll
        for (int c = 0; c < kLane; ++c) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const float vh = v[t][c][i] * h[c][i];
            sums.S2[t][c] = i == 0 ? vh * own.A[c][i] : fmaf(vh, own.A[c][i], sums.S2[t][c]);
            own.dA[c][i] = fmaf(vh, x[c], own.dA[c][i]);
            h[c][i] = fmaf(a[t][c][i], h[c][i], x[kLane + c] * B[i]);
          }
        }
        add(sum, q, h);
      }
      store(dC + product * kProductSteps * 2 * kDState, sum);
    }
    sum_over_states<Shape>(sums.S2);
  }

 private:
  using Sums = WeightedSums<Shape>;
  static constexpr int kProductSteps = Shape::kProductSteps, kProducts = kHalfSteps / kProductSteps;
  static constexpr int kRow = 2 * kChannels, kToDy = kTile * kRow;  // floats, from a step to the next, from step to dy
  static_assert(offsetof(Prepared, dy) == kToDy * sizeof(float));

  /// As WeightedSums::add and result, with what is known here of the lane.
  __device__ __forceinline__ void add(Sums& sum, unsigned q, const float (&values)[kLane][4]) const {
    const float first = column_step == q ? sum.weight[0] : 0.f, second = column_step == q ? sum.weight[1] : 0.f;
    detail::mma_tf32(sum.low, {values[0][0], values[0][1], values[1][0], values[1][1]}, first, second);
    detail::mma_tf32(sum.high, {values[0][2], values[0][3], values[1][2], values[1][3]}, first, second);
  }
  __device__ __forceinline__ void store(float* to, const Sums& sum) const {
    float states[4];
    states[0] = second_partial ? sum.low[1] : sum.low[0];
    states[1] = second_partial ? sum.low[3] : sum.low[2];
    states[2] = second_partial ? sum.high[1] : sum.high[0];
    states[3] = second_partial ? sum.high[3] : sum.high[2];
    store_floats(to, states);
  }

  Shared& s;
  unsigned column_step;  ///< of its column of a product
  bool second_partial;   ///< that of the lane's own channels
  const float *pairs, *column, *BC;
  float *dB, *dC;
};

__device__ __forceinline__ void scan(Shared& s, const SelectiveScanBwdParams<scalar_t>& p, const BwdPlan& plan,
                                     float* workspace, const BwdWork& work) {
  constexpr int kEvery = static_cast<int>(kSelectiveScanCheckpointEvery), kLane = Shape::kLaneChannels;
  static_assert(kEvery == kHalfSteps);
  const BwdLane<Shape> lane(static_cast<int>(threadIdx.x));
  const bool exists = lane.channel < work.block.channels;  // both channels of a lane, or none: d_inner is even
  const int channel = static_cast<int>(work.block.first_channel) + lane.channel;
  const int64_t row_states = p.d_inner * kDState;
  const int state_start = channel * kDState + lane.group * 4;
  Walk::LaneStates own;
  if (exists && !work.idle) {
#pragma unroll
    for (int c = 0; c < kLane; ++c) load_floats(own.A[c], p.A + state_start + c * kDState);
  }
  Walk::keep_places(s, lane);
  const int tiles = work.tiles(kTile);
  auto fetch_state = [&](const float* source, int half, bool wanted) {  // not wanted: zeros, and nothing is read
    float4* const to = &s.h_before[half][0][fresh_thread_index()];
#pragma unroll
    for (int c = 0; c < kLane; ++c) copy_async(to + c * Shape::kThreads, source + c * kDState, wanted);
    copy_async_commit();
  };
  // before half 0 of the first tile; every half fetches for itself in the next tile, two checkpoints before its own
  const int64_t first_checkpoint = first_row_part(p, work.row, work.span, kEvery) + work.last_tile / kEvery;
  const float* source = p.checkpoints + first_checkpoint * row_states + state_start;
  if (tiles > 0) {
    const bool has_half_1 = work.last_tile / kEvery < (static_cast<int>(work.span.length) - 1) / kEvery;
    fetch_state(has_half_1 ? source + row_states : source, 1, exists && has_half_1);
    fetch_state(source, 0, exists);
    source -= row_states;
  }
  if (exists && !work.idle) {
    if (plan.chunks() > 1 && !work.whole) wait_for_predecessor();
    carry_into_chunk(own.v, own.A, p, plan, workspace, static_cast<int>(plan.first_piece(work.next_chunk)), work.row,
                     channel, lane.group);
  }
  Slot<Shared::kPreparedTiles> at;
#pragma unroll 1
  for (int k = 0; k < tiles; ++k, at.advance()) {
    s.prepared[at.slot].wait_for(at.phase);
#pragma unroll 1
    for (int half = 1; half >= 0; --half) {
      BwdStepSums<Shape> sums;
      copy_async_wait<1>();
      s.finished[half].wait_for(k - 1);
      Walk(s, at.slot, half).run(own, sums, half);
      asm volatile("" ::: "memory");  // the next state takes the place of this one, which has been read
      fetch_state(source, half, exists && k + 1 < tiles);
      source -= row_states;
      int place;  // read anew: volatile
      asm volatile("ld.shared.s32 %0, [%1];"
                   : "=r"(place)
                   : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(&s.sums_place[fresh_thread_index()]))));
      auto* const to =
          reinterpret_cast<float*>(reinterpret_cast<char*>(&s) + place) + half * kHalfSteps * 2 * kChannels;
#pragma unroll
      for (int j = 0; j < kHalfSteps / Shape::kGroups; ++j) {
        const float both[2 * kLane] = {sums.S1[j][0], sums.S1[j][1], sums.S2[j][0], sums.S2[j][1]};
        store_floats(to + j * 2 * kChannels, both);
      }
      s.walked[half].arrive();
    }
  }
  if (!exists) return;
  // not kept until here, or it would be spilt: the number of the part
  const int64_t part = fresh_block_row(), part_states = part * (p.d_inner * kDState);
#pragma unroll
  for (int c = 0; c < kLane; ++c) {
    const int start = state_start + c * kDState;
    if (p.dA != nullptr) {
      float scaled[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) scaled[i] = own.dA[c][i] * kDeltaUnit<scalar_t>;
      store_floats(workspace + plan.dA + part_states + start, scaled);
    }
    if (p.dinitial_state != nullptr && part < p.batch) {  // chunk 0: then it is the row's number too
      store_floats(p.dinitial_state + part_states + start, own.v[c]);
    }
  }
}

}  // namespace mpeft::kernels::bwd_roles
