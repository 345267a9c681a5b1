#pragma once

#include <type_traits>

#include "kernels/selective_scan/cpu_simd_common.h"

// defines: bwd_scratch, bwd_task

namespace mpeft::kernels {
namespace {

/// What the states of a tile read and leave, for one group.
struct BwdTile {
  int64_t steps, d_state;
  const float *B, *C;          // (steps, d_state)
  TileRow delta, delta_u, dy;  // read
  TileRow dBu, dA_sum, y;      // left: sum_n dh B', sum_n dh w A2, sum_n C' (h + offset)   (w = exp(delta A) h_before)
  float *decays, *decayed;     // (steps, kStates, kLanes): exp(delta A) and w, for the states in hand
  float *dB, *dC;              // (steps, d_state, kLanes) sums over groups, or null
};

inline void add_to(float* sum, Vec x) { (Vec::load(sum) + x).store(sum); }

/// Recomputes kStates states of a group over a tile, then goes back through it. dh: gradient of the state after the
/// tile in, before it out. dA is added to.
/// With terms also: terms, from state n0, and the sums of their gradients, which are added to.
template <int kStates, bool kWithBC, bool kWithA, bool kWithTerms>
inline void bwd_states(const BwdTile tile, int64_t n0, const float* A2, const StateTerms& terms,
                       const StateTerms& dterms, const float* kept, int64_t kept_stride, int64_t lanes, float* dh,
                       float* dA) {
  constexpr int kTogether = together(kStates);
  const int64_t N = tile.d_state;
  const float* const B = tile.B + n0;
  const float* const C = tile.C + n0;
  {
    Vec h[kStates];
#pragma GCC unroll 8
    for (int j = 0; j < kStates; ++j) h[j] = load_lanes(kept + (n0 + j) * kept_stride, lanes);
    for (int64_t t = 0; t < tile.steps; ++t) {
      const Vec dt = tile.delta.get(t), dtu = tile.delta_u.get(t);
      float* const tile_decays = tile.decays + t * kStates * kLanes;
      float* const decayed = tile.decayed + t * kStates * kLanes;
#pragma GCC unroll 8
      for (int i = 0; i < kStates; i += kTogether) {
        Vec decay[kTogether];
        decays(dt, A2 + (n0 + i) * kLanes, decay);
#pragma GCC unroll 8
        for (int j = i; j < i + kTogether; ++j) {
          const Vec w = decay[j - i] * h[j];
          decay[j - i].store(tile_decays + j * kLanes);
          w.store(decayed + j * kLanes);
          const Vec b = Vec::broadcast(B[t * N + j]);
          h[j] = fma(dtu, kWithTerms ? terms.scaled_B(j, b) : b, w);
        }
      }
    }
  }
  Vec g[kStates], dA_sum[kStates];
#pragma GCC unroll 8
  for (int j = 0; j < kStates; ++j) {
    g[j] = Vec::load(dh + (n0 + j) * kLanes);
    if constexpr (kWithA) dA_sum[j] = Vec::load(dA + (n0 + j) * kLanes);
  }
  for (int64_t t = tile.steps - 1; t >= 0; --t) {
    const Vec dt = tile.delta.get(t), dtu = tile.delta_u.get(t), dy = tile.dy.get(t);
    const float* const decays = tile.decays + t * kStates * kLanes;
    const float* const decayed = tile.decayed + t * kStates * kLanes;
    Vec sum_B = tile.dBu.get(t), sum_A = tile.dA_sum.get(t), sum_C = tile.y.get(t);
#pragma GCC unroll 8
    for (int j = 0; j < kStates; ++j) {
      const Vec b_given = Vec::broadcast(B[t * N + j]), c_given = Vec::broadcast(C[t * N + j]);
      const Vec b = kWithTerms ? terms.scaled_B(j, b_given) : b_given;
      const Vec c = kWithTerms ? terms.scaled_C(j, c_given) : c_given;
      const Vec w = Vec::load(decayed + j * kLanes);
      Vec h = fma(dtu, b, w);
      if constexpr (kWithTerms) h = terms.offset_state(j, h);
      const Vec gt = fma(dy, c, g[j]);
      const Vec gw = gt * w;
      sum_B = fma(gt, b, sum_B);
      sum_A = fma(gw, Vec::load(A2 + (n0 + j) * kLanes), sum_A);
      sum_C = fma(h, c, sum_C);
      if constexpr (kWithA) dA_sum[j] = fma(gw, dt, dA_sum[j]);
      float* const dB = kWithBC ? tile.dB + (t * N + n0 + j) * kLanes : nullptr;
      float* const dC = kWithBC ? tile.dC + (t * N + n0 + j) * kLanes : nullptr;
      if constexpr (kWithTerms) {
        const Vec db = gt * dtu, dc = h * dy;  // of B' and C'
        add_to(dterms.offset + j * kLanes, dy * c);
        add_to(dterms.B_scale + j * kLanes, db * b_given);
        add_to(dterms.B_bias + j * kLanes, db);
        add_to(dterms.C_scale + j * kLanes, dc * c_given);
        add_to(dterms.C_bias + j * kLanes, dc);
        if constexpr (kWithBC) {
          add_to(dB, db * Vec::load(terms.B_scale + j * kLanes));
          add_to(dC, dc * Vec::load(terms.C_scale + j * kLanes));
        }
      } else if constexpr (kWithBC) {
        fma(gt, dtu, Vec::load(dB)).store(dB);
        fma(h, dy, Vec::load(dC)).store(dC);
      }
      g[j] = gt * Vec::load(decays + j * kLanes);
    }
    tile.dBu.set(t, sum_B);
    tile.dA_sum.set(t, sum_A);
    tile.y.set(t, sum_C);
  }
#pragma GCC unroll 8
  for (int j = 0; j < kStates; ++j) {
    g[j].store(dh + (n0 + j) * kLanes);
    if constexpr (kWithA) dA_sum[j].store(dA + (n0 + j) * kLanes);
  }
}

template <bool kWithBC, bool kWithA, bool kWithTerms>
inline void bwd_group(const BwdTile& tile, const float* A2, const StateTerms& terms, const StateTerms& dterms,
                      const float* kept, int64_t kept_stride, int64_t lanes, float* dh, float* dA) {
  int64_t n = 0;
  const auto go_back = [&]<int kStates>(std::integral_constant<int, kStates>) {
    bwd_states<kStates, kWithBC, kWithA, kWithTerms>(tile, n, A2, kWithTerms ? terms.from_state(n) : StateTerms{},
                                                     kWithTerms ? dterms.from_state(n) : StateTerms{}, kept,
                                                     kept_stride, lanes, dh, dA);
  };
  for (; n + 4 <= tile.d_state; n += 4) go_back(std::integral_constant<int, 4>{});
  for (; n < tile.d_state; ++n) go_back(std::integral_constant<int, 1>{});
}

inline int64_t bwd_scratch(int64_t d_state, bool with_terms) {
  const int64_t per_group = (3 + (with_terms ? 2 * kTerms : 0)) * d_state * kLanes + 4 * kLanes;
  return kGroups * per_group + 2 * kTile * d_state * kLanes + 2 * kTile * d_state + (8 + 2 * 4) * kTile * kLanes;
}

/// One value a channel and step, for the epilogue of a group.
struct BwdRows {
  TileRow softplus_slope, dgate;  // sigmoid(delta + bias) or 1; dout silu'(z)
};

/// Fills the tile's rows from the inputs.
template <typename scalar_t>
inline void bwd_prologue(const SelectiveScanBwdParams<scalar_t>& p, int64_t t0, int64_t d, int64_t lanes,
                         const ChunkA2& A, int64_t group, const BwdTile& tile, const BwdRows& rows) {
  const Vec one = Vec::broadcast(1.0f);
  const Vec bias = load_or_zero(p.delta_bias, d, lanes);
  for (int64_t t = 0; t < tile.steps; ++t) {
    if (t0 >= kTile) {
      for (const auto* s : {&p.u, &p.delta, &p.z, &p.dout}) prefetch_step(*s, t0 - kTile + t, d);
      for (const auto* s : {&p.du, &p.ddelta, &p.dz}) prefetch_step(*s, t0 - kTile + t, d);
    }
    const Vec u = load_lanes(at_step(p.u, t0 + t) + d, lanes);
    const Vec dout = load_lanes(at_step(p.dout, t0 + t) + d, lanes);
    const Vec raw = load_lanes(at_step(p.delta, t0 + t) + d, lanes) + bias;
    Softplus dt{raw, one};
    if (p.delta_softplus) dt = softplus(raw);
    tile.delta.set(t, A.limit_delta(group, dt.value));
    tile.delta_u.set(t, dt.value * u);
    rows.softplus_slope.set(t, dt.derivative);
    if (p.z.data) {
      const Vec z = load_lanes(at_step(p.z, t0 + t) + d, lanes);
      const Vec s = sigmoid(z);
      const Vec gate = z * s;
      tile.dy.set(t, dout * gate);
      rows.dgate.set(t, dout * fma(gate, one - s, s));
    } else {
      tile.dy.set(t, dout);
    }
    tile.dBu.set(t, Vec::zero());
    tile.dA_sum.set(t, Vec::zero());
    tile.y.set(t, Vec::zero());
  }
}

/// Gradients of a group's channels, step by step; adds to the sums of dD, ddelta_bias and dout_offset, (3, kLanes).
template <typename scalar_t>
inline void bwd_epilogue(const SelectiveScanBwdParams<scalar_t>& p, int64_t t0, int64_t d, int64_t lanes,
                         const BwdTile& tile, const BwdRows& rows, float* sums) {
  const Vec skip = load_or_zero(p.D, d, lanes), offset = load_or_zero(p.out_offset, d, lanes);
  Vec dD_sum = Vec::load(sums), dbias_sum = Vec::load(sums + kLanes), dy_sum = Vec::load(sums + 2 * kLanes);
  for (int64_t t = tile.steps - 1; t >= 0; --t) {
    const Vec u = load_lanes(at_step(p.u, t0 + t) + d, lanes);
    const Vec dy = tile.dy.get(t), sum_B = tile.dBu.get(t);
    const Vec ddelta = fma(u, sum_B, tile.dA_sum.get(t) * Vec::broadcast(kLn2)) * rows.softplus_slope.get(t);
    dD_sum = fma(dy, u, dD_sum);
    dbias_sum = dbias_sum + ddelta;
    dy_sum = dy_sum + dy;
    if (p.du.data) store_lanes(fma(tile.delta.get(t), sum_B, skip * dy), at_step(p.du, t0 + t) + d, lanes);
    if (p.ddelta.data) store_lanes(ddelta, at_step(p.ddelta, t0 + t) + d, lanes);
    if (p.dz.data && p.z.data) {
      store_lanes(rows.dgate.get(t) * (fma(skip, u, tile.y.get(t)) + offset), at_step(p.dz, t0 + t) + d, lanes);
    }
  }
  dD_sum.store(sums);
  dbias_sum.store(sums + kLanes);
  dy_sum.store(sums + 2 * kLanes);
}

template <typename scalar_t>
inline void clear_steps(const Sequence<scalar_t>& s, int64_t begin, int64_t end, const Chunk& chunk) {
  if (s.data == nullptr) return;
  for (int64_t t = begin; t < end; ++t) {
    std::memset(at_step(s, t) + chunk.begin, 0, static_cast<size_t>(chunk.n_channels) * sizeof(scalar_t));
  }
}

template <typename scalar_t>
inline void bwd_task(const SelectiveScanBwdParams<scalar_t>& params, const SelectiveScanPartials& partials, int64_t row,
                     int64_t chunk_index, float* scratch) {
  const DenormalsAreZero denormals_are_zero;
  const RowSpan span = row_span(params, row);
  SelectiveScanBwdParams<scalar_t> p = params;
  move_to_row(p, row, span);
  const int64_t N = p.d_state, D = p.d_inner;
  const Chunk chunk = Chunk::of(chunk_index, kScanChunk, D);
  const int64_t length = span.length;
  const bool with_terms = has_state_terms(p);
  const bool with_bc = partials.dB != nullptr || partials.dC != nullptr;
  const bool with_a = partials.dA != nullptr;

  Arena arena(scratch);
  const auto take_row = [&arena] { return TileRow{arena.take(kTile * kLanes)}; };
  BwdTile tile{};
  tile.d_state = N;
  for (TileRow* r : {&tile.delta, &tile.delta_u, &tile.dy, &tile.dBu, &tile.dA_sum, &tile.y}) *r = take_row();
  const BwdRows rows{take_row(), take_row()};
  tile.decays = arena.take(4 * kTile * kLanes);
  tile.decayed = arena.take(4 * kTile * kLanes);
  tile.dB = arena.take(kTile * N * kLanes);
  tile.dC = arena.take(kTile * N * kLanes);
  const int64_t group_states = chunk.n_groups * N * kLanes;
  const ChunkA2 A{{arena.take(group_states), N}, arena.take(chunk.n_groups * kLanes)};
  const GroupStates dh{arena.take(group_states), N}, dA{arena.take(group_states), N};
  float* const sums = arena.take(chunk.n_groups * 3 * kLanes);
  float* const B = arena.take(kTile * N);
  float* const C = arena.take(kTile * N);
  tile.B = B;
  tile.C = C;

  const ChunkTerms terms{with_terms ? arena.take(kTerms * group_states) : nullptr, N};
  const ChunkTerms dterms{with_terms ? arena.take(kTerms * group_states) : nullptr, N};

  load_A2(p, chunk, A);
  load_terms(p, chunk, terms);
  if (with_terms) fill_zero(dterms.data, kTerms * group_states);
  fill_zero(dA.data, group_states);
  fill_zero(dh.data, group_states);
  fill_zero(sums, chunk.n_groups * 3 * kLanes);
  for (int64_t g = 0; p.dlast_state != nullptr && g < chunk.n_groups; ++g) {
    load_states(p.dlast_state + (row * D + chunk.begin + g * kLanes) * N, lanes_left(chunk.n_channels, g * kLanes), N,
                1.0f, dh.group(g));
  }

  const int64_t first_tile = first_row_part(params, row, span, kTile);
  for (int64_t index = (length + kTile - 1) / kTile - 1; index >= 0; --index) {
    const int64_t t0 = index * kTile;
    tile.steps = length - t0 < kTile ? length - t0 : kTile;
    widen_tile(p.B, t0, tile.steps, N, B);
    widen_tile(p.C, t0, tile.steps, N, C);
    if (with_bc || with_terms) {
      fill_zero(tile.dB, tile.steps * N * kLanes);
      fill_zero(tile.dC, tile.steps * N * kLanes);
    }
    for (int64_t g = 0; g < chunk.n_groups; ++g) {
      const int64_t d = chunk.begin + g * kLanes;
      const int64_t lanes = lanes_left(chunk.n_channels, g * kLanes);
      const float* const kept = p.checkpoints + (first_tile + index) * N * D + d;
      bwd_prologue(p, t0, d, lanes, A, g, tile, rows);
      auto* const run = with_terms ? bwd_group<true, true, true>
                        : with_bc  ? (with_a ? bwd_group<true, true, false> : bwd_group<true, false, false>)
                                   : (with_a ? bwd_group<false, true, false> : bwd_group<false, false, false>);
      run(tile, A.A2.group(g), terms.group(g), dterms.group(g), kept, D, lanes, dh.group(g), dA.group(g));
      bwd_epilogue(p, t0, d, lanes, tile, rows, sums + g * 3 * kLanes);
    }
    const int64_t first = (chunk_index * n_tokens(params) + span.first + t0) * N;
    for (int64_t i = 0; partials.dB != nullptr && i < tile.steps * N; ++i) {
      partials.dB[first + i] = Vec::load(tile.dB + i * kLanes).sum();
    }
    for (int64_t i = 0; partials.dC != nullptr && i < tile.steps * N; ++i) {
      partials.dC[first + i] = Vec::load(tile.dC + i * kLanes).sum();
    }
  }

  clear_steps(p.du, length, span.stored, chunk);
  clear_steps(p.ddelta, length, span.stored, chunk);
  clear_steps(p.dz, length, span.stored, chunk);
  for (int64_t g = 0; g < chunk.n_groups; ++g) {
    const int64_t d = chunk.begin + g * kLanes;
    const int64_t lanes = lanes_left(chunk.n_channels, g * kLanes);
    const auto store_sum = [&](const float* sum, float* to) {  // (d_state, kLanes) to this row's (d_inner, d_state)
      if (to != nullptr) store_states(sum, lanes, N, to + (row * D + d) * N);
    };
    store_sum(dA.group(g), partials.dA);
    store_sum(dh.group(g), p.dinitial_state);
    if (with_terms) {
      const StateTerms sum = dterms.group(g);
      store_sum(sum.offset, partials.dstate_offset);
      store_sum(sum.B_scale, partials.dB_scale);
      store_sum(sum.B_bias, partials.dB_bias);
      store_sum(sum.C_scale, partials.dC_scale);
      store_sum(sum.C_bias, partials.dC_bias);
    }
    int64_t i = 0;
    for (float* const to : {partials.dD, partials.ddelta_bias, partials.dout_offset}) {
      if (to != nullptr) store_lanes(Vec::load(sums + (g * 3 + i) * kLanes), to + row * D + d, lanes);
      ++i;
    }
  }
}

}  // namespace
}  // namespace mpeft::kernels
