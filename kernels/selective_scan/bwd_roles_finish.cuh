#pragma once

#include "kernels/selective_scan/bwd_products.cuh"
#include "kernels/selective_scan/bwd_roles_shape.cuh"
#include "kernels/selective_scan/bwd_shared.cuh"

// defines, in bwd_roles: Finish
//
// Backward by roles: the warps that finish. Half by half they add what the scanning warps leave of dB and dC, make du
// and ddelta of the sums over states, and store all of it.

namespace mpeft::kernels::bwd_roles {

class Finish {
 public:
  /// thread: of the role.
  __device__ __forceinline__ Finish(Shared& shared, const SelectiveScanBwdParams<scalar_t>& params,
                                    const BwdPlan& of_launch, float* of_parts, const BwdWork& of_block, int thread)
      : s(shared),
        p(params),
        plan(of_launch),
        workspace(of_parts),
        work(of_block),
        me(thread),
        c(me % 32 * 4),
        t_own(me / 32) {}

  /// Before the block meets.
  __device__ __forceinline__ void begin() {
    const int own = static_cast<int>(work.block.first_channel) + me;
    s.D[me] = p.D != nullptr && me < work.block.channels && !work.idle ? p.D[own] : 0.f;
    s.dBC_place[me] =
        workspace + plan.dBC +
        (work.block.first_channel / kChannels * n_tokens(p) + work.span.first + sum_step()) * 2 * kDState +
        sum_column();
    if (me < kChannels / 4) {  // c is me * 4
      auto place = [&](const Sequence<scalar_t>& x) {
        return place_of(x, work.row, work.span, 0, work.block.first_channel + c);
      };
      s.gradients[me] = {place(p.du), place(p.ddelta), place(p.dz)};
    }
  }

  __device__ __forceinline__ void run() {
    meet<kFinishBarrier>();           // (not needed: the block has met. Part of what was measured)
    own_places = s.gradients[c / 4];  // in registers: 1 % faster
    clear_padding();
    const bool exists = c < work.block.channels;
    const int tiles = work.tiles(kTile);
    int slot = 0;
#pragma unroll 1
    for (int k = 0; k < tiles; ++k) {
      const Prepared& from = s.tile[slot];
      const int step = work.last_tile - k * kTile, steps = min(kTile, work.end - step);
#pragma unroll 1
      for (int half = 1; half >= 0; --half) {
        const int t0 = half * kHalfSteps;
        s.walked[half].wait_for(k);
        if (t0 + sum_step() < steps) {
          float* const to = at_step(s.dBC_place[me], step + t0, 2 * kDState);
          __stcg(reinterpret_cast<float2*>(to), sum_of_warps(half));
        }
#pragma unroll
        for (int j = 0; j < kHalfSteps; j += 4) {
          const int t = t0 + t_own + j;
          if (t >= steps) continue;
          Four du, ddelta;
          gradients(du, ddelta, from, k, half, t);
          store(p.du, own_places.du, step + t, exists, du);
          store(p.ddelta, own_places.ddelta, step + t, exists, ddelta);
        }
        s.finished[half].arrive();
      }
      slot = slot + 1 == Shared::kPreparedTiles ? 0 : slot + 1;
    }
    store_channel_sums();
  }

 private:
  using Four = RawVector<scalar_t, 4>;

  __device__ __forceinline__ static void store(const Sequence<scalar_t>& x, scalar_t* place, int step, bool wanted,
                                               const Four& values) {
    if (x.data == nullptr || !wanted) return;
    __stcg(reinterpret_cast<uint2*>(at_step(place, step, x.time_stride)), make_uint2(values.words[0], values.words[1]));
  }

  /// Of this chunk.
  __device__ __forceinline__ void clear_padding() const {
    const int64_t channel = work.block.first_channel + c;
    for (int64_t t = max(work.end, work.first) + t_own; t < work.stored_end; t += 4) {
      for (const Sequence<scalar_t>* x : {&p.du, &p.ddelta, &p.dz}) {
        if (x->data == nullptr || c >= work.block.channels) continue;
        scalar_t* const to = x->data + row_offset(*x, work.row, work.span) + t * x->time_stride + channel;
        *reinterpret_cast<uint2*>(to) = make_uint2(0, 0);
      }
    }
  }

  /// Of dB and dC of a half the two neighbouring states that this thread adds, by steps and columns of (B, C).
  __device__ __forceinline__ int sum_step() const { return me / kDState; }
  __device__ __forceinline__ int sum_column() const { return me % kDState * 2; }
  __device__ __forceinline__ float2 sum_of_warps(int half) const {
    const int t = half * kHalfSteps + sum_step();
    const int place = dBC_place<Shape>(sum_step() % Shape::kProductSteps, sum_column() / 4);
    const float2* const partials = reinterpret_cast<const float2*>(&s.dBC[0][t][place]) + sum_column() / 2 % 2;
    float2 sum = *partials;
#pragma unroll
    for (int other = 1; other < Shape::kWarps * Shape::kPartials; ++other) {
      const float2 x = partials[other * static_cast<int>(sizeof(s.dBC[0]) / sizeof(float2))];
      sum = make_float2(sum.x + x.x, sum.y + x.y);
    }
    return sum;
  }

  /// Of step t of tile k.
  __device__ __forceinline__ void gradients(Four& du, Four& ddelta, const Prepared& from, int k, int half, int t) {
    Four raw_u;
    raw_u.load(&s.u[k & 3][t][c]);
#pragma unroll
    for (int pair = 0; pair < 2; ++pair) {  // pair by pair: fewer registers
      const int place = place_of_pair(c + 2 * pair);
      float S[4], step_size[2], dy[4], D[2], du_pair[2], ddelta_pair[2];
      load_floats(S, &s.sums[half][t % kHalfSteps][place]);
      load_floats(step_size, &from.step[t][place]);
      load_floats(dy, &from.dy[t][place]);
      load_floats(D, &s.D[c + 2 * pair]);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const float u = i == 0 ? low_of(scalar_t{}, raw_u.words[pair]) : high_of(scalar_t{}, raw_u.words[pair]);
        ddelta_pair[i] = fmaf(u, S[i], S[2 + i]) * dy[2 + i];
        du_pair[i] = fmaf(step_size[i] * kDeltaUnit<scalar_t>, S[i], D[i] * dy[i]);
        dD[2 * pair + i] = fmaf(dy[i], u, dD[2 * pair + i]);
        dbias[2 * pair + i] += ddelta_pair[i];
      }
      du.words[pair] = detail::two_of(scalar_t{}, du_pair[0], du_pair[1]);
      ddelta.words[pair] = detail::two_of(scalar_t{}, ddelta_pair[0], ddelta_pair[1]);
    }
  }

  /// dD and ddelta_bias of this part: the four warps' sums are added in shared memory that all have read.
  __device__ __forceinline__ void store_channel_sums() const {
    auto& rows = s.sums[0];
    meet<kFinishBarrier>();
    store_floats(&rows[t_own][c], dD);
    store_floats(&rows[t_own][kChannels + c], dbias);
    meet<kFinishBarrier>();
    if (me >= work.block.channels) return;
    float sum_D = 0.f, sum_bias = 0.f;
#pragma unroll
    for (int warp = 0; warp < Shape::kFinishWarps; ++warp) {
      sum_D += rows[warp][me], sum_bias += rows[warp][kChannels + me];
    }
    const int64_t place = work.block.row * p.d_inner + work.block.first_channel + me;
    if (p.dD != nullptr) workspace[plan.dD + place] = sum_D;
    if (p.ddelta_bias != nullptr) workspace[plan.dbias + place] = sum_bias;
  }

  Shared& s;
  const SelectiveScanBwdParams<scalar_t>& p;
  const BwdPlan& plan;
  float* const workspace;
  const BwdWork& work;
  const int me, c, t_own;
  float dD[4] = {}, dbias[4] = {};
  GradientPlaces own_places;
};

}  // namespace mpeft::kernels::bwd_roles
