#pragma once

#include "kernels/selective_scan/bwd_roles_shape.cuh"
#include "kernels/selective_scan/scan_math.cuh"

// defines, in bwd_roles: Preparation
//
// Backward by roles: the warps that prepare. A thread asks for eight channels of two steps of a tile, a tile ahead,
// makes of them what the walk takes, softplus and gate, and stores dz.

namespace mpeft::kernels::bwd_roles {

class Preparation {
 public:
  /// thread: of the role.
  __device__ __forceinline__ Preparation(Shared& shared, const SelectiveScanBwdParams<scalar_t>& params,
                                         const BwdWork& work, int thread)
      : s(shared),
        p(params),
        me(thread),
        channels(work.block.channels),
        tiles(work.tiles(kTile)),
        last_tile(work.last_tile),
        end(work.end) {}

  /// Asks for the first tile; before the block has met.
  __device__ __forceinline__ void begin(const BwdWork& work) {
    if (me < kChannels / 8) {
      auto& row = s.row[me];
      row = bwd_input_places(p, work.row, work.span, 0, work.block.first_channel + me * 8);
      const int n = me % 8 * 4;  // twice
      row.states =
          n < kDState ? place_of(p.B, work.row, work.span, 0, n) : place_of(p.C, work.row, work.span, 0, n - kDState);
    }
    meet<kPrepareBarrier>();
    if (tiles > 0) fetch(0);
    const bool has_bias = p.delta_bias != nullptr && me < channels && !work.idle;
    s.bias[me] = has_bias ? softplus_bias<scalar_t>(p.delta_bias[work.block.first_channel + me]) : 0.f;
  }

  /// kUsual: z is there, and softplus.
  template <bool kUsual>
  __device__ __forceinline__ void run() {
    const bool gated = kUsual || p.z.data != nullptr;
    const int c = me % 16 * 8, t_own = me / 16;
    constexpr int kSlots = Shared::kPreparedTiles;
    Slot<kSlots> at;
#pragma unroll 1
    for (int k = 0; k < tiles; ++k) {
      const int stage = k & 1, step = last_tile - k * kTile, steps = min(kTile, end - step);
      copy_async_wait();
      // Of an odd number of slots: where `finished` is a phase on already this waits one tile longer, where it is two
      // on it passes. Of an even number it would then wait for this very tile. (A barrier a slot is 0.5 % slower.)
      static_assert(kSlots % 2 == 1);
      if (k >= kSlots) s.finished[0].wait_for(k - kSlots);
      if (k + 1 < tiles) fetch(k + 1);
      Prepared& to = s.tile[at.slot];
      widen_states(to, stage);
#pragma unroll 1
      for (int half = 1; half >= 0; --half) {
        const int t = half * kHalfSteps + t_own;
        RawVector<scalar_t, 8> dz;
        prepare_row<kUsual>(dz, to, k, t, c, t < steps);
        if (gated && p.dz.data != nullptr && t < steps && c < channels) {
          __stcg(reinterpret_cast<uint4*>(at_step(s.gradients[c / 4].dz, step + t, p.dz.time_stride)),
                 make_uint4(dz.words[0], dz.words[1], dz.words[2], dz.words[3]));
        }
      }
      s.prepared[at.slot].arrive();
      at.advance();
    }
  }

 private:
  /// Asks for this thread's part of tile k: what it takes the place of, the thread itself has used up (tile k - 2), or
  /// those who finish have (tile k - 4: u).
  __device__ __forceinline__ void fetch(int k) {
    const int stage = k & 1, step = last_tile - k * kTile, steps = min(kTile, end - step);
    const int eight = me % 16, t_own = me / 16, c = eight * 8;
    const auto& row = s.row[eight];
    auto both_rows = [&](scalar_t(&to)[kTile][kChannels], const scalar_t* source, int64_t time_stride) {
#pragma unroll
      for (int t = t_own, j = 0; j < 2; ++j, t += 8) {
        copy_async(&to[t][c], at_step(source, step + t, time_stride), c < channels && t < steps);
      }
    };
    both_rows(s.delta[stage], row.delta, p.delta.time_stride);
    both_rows(s.dout[stage], row.dout, p.dout.time_stride);
    both_rows(s.u[k & 3], row.u, p.u.time_stride);
    if (p.z.data != nullptr) {
      both_rows(s.z[stage], row.z, p.z.time_stride);
      both_rows(s.y[stage], row.y, p.d_inner);
    }
    const int t = me / 8, four = me % 8;
    copy_async_8(&s.states[stage][t][four * 4],
                 at_step(s.row[four].states, step + t, four < kDState / 4 ? p.B.time_stride : p.C.time_stride),
                 t < steps);
    copy_async_commit();
  }

  __device__ __forceinline__ void widen_states(Prepared& to, int stage) const {
    const int t = me / 8, n = me % 8 * 4;
    float x[4];
    load_floats(x, &s.states[stage][t][n]);
    store_floats(&to.BC[t][n], x);
  }

  /// Step t of tile k; not there: fetched as zeros, and the state passes through.
  template <bool kUsual>
  __device__ __forceinline__ void prepare_row(RawVector<scalar_t, 8>& dz_row, Prepared& to, int k, int t, int c,
                                              bool there) {
    const int stage = k & 1;
#pragma unroll
    for (int part = 0; part < 8; part += 4) {
      RawVector<scalar_t, 4> raw_delta, raw_u, raw_dout, raw_z, raw_y;
      raw_delta.load(&s.delta[stage][t][c + part]);
      raw_u.load(&s.u[k & 3][t][c + part]);
      raw_dout.load(&s.dout[stage][t][c + part]);
      if (kUsual || p.z.data != nullptr) {
        raw_z.load(&s.z[stage][t][c + part]);
        raw_y.load(&s.y[stage][t][c + part]);
      }
      float u[4], delta[4], dy[4], bias[4], derivative[4], step_sizes[4];
      raw_delta.widen(delta);
      load_floats(bias, &s.bias[c + part]);
      softplus_delta<scalar_t>(step_sizes, derivative, delta, bias, kUsual || p.delta_softplus);
      if (!there) {
#pragma unroll
        for (int i = 0; i < 4; ++i) step_sizes[i] = derivative[i] = 0.f;
      }
      raw_u.widen(u);
#pragma unroll
      for (int i = 0; i < 4; ++i) u[i] *= step_sizes[i] * kDeltaUnit<scalar_t>;
      raw_dout.widen(dy);
      if (kUsual || p.z.data != nullptr) {
        float z[4], y[4], dz[4];
        raw_z.widen(z);
        raw_y.widen(y);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const Silu gate = silu<scalar_t>(z[i]);
          dz[i] = dy[i] * gate.derivative * y[i];
          dy[i] *= gate.value;
        }
        RawVector<scalar_t, 4> narrow;
        narrow.narrow(dz);
        dz_row.words[part / 2] = narrow.words[0], dz_row.words[part / 2 + 1] = narrow.words[1];
      }
#pragma unroll
      for (int i = 0; i < 4; i += 2) {
        const int place = place_of_pair(c + part + i);
        *reinterpret_cast<float4*>(&to.step[t][place]) = make_float4(step_sizes[i], step_sizes[i + 1], u[i], u[i + 1]);
        *reinterpret_cast<float4*>(&to.dy[t][place]) = make_float4(dy[i], dy[i + 1], derivative[i], derivative[i + 1]);
      }
    }
  }

  Shared& s;
  const SelectiveScanBwdParams<scalar_t>& p;
  const int me, channels, tiles, last_tile, end;
};

}  // namespace mpeft::kernels::bwd_roles
