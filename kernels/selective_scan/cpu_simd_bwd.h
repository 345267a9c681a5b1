#pragma once

#include <type_traits>

#include "kernels/selective_scan/cpu_simd_common.h"

// defines: bwd_scratch, bwd_task

namespace mpeft::kernels {
namespace {

/// Groups that the backward takes together: what they add to dB and dC meets in registers. As many as these hold.
constexpr int kGroupsTogether = Vec::kRegisters >= 32 ? 2 : 1;
constexpr int kStatesTogether = 4;

/// What the states of a tile read and leave. Rows: of group g of those taken together with TileRow::of(g).
struct BwdTile {
  int64_t steps, d_state;
  const float *B, *C;          // (steps, d_state)
  TileRow delta, delta_u, dy;  // read
  TileRow dBu, dA_sum, y;      // left: sum_n dh B', sum_n dh w A2, sum_n C' (h + offset)   (w = exp(delta A) h_before)
  float *decays, *decayed;     // (steps, groups, states, kLanes): exp(delta A) and w, for the states in hand
  float *dB, *dC;              // (steps, d_state, kLanes) sums over groups, or null

  inline BwdTile of(int64_t g) const {
    BwdTile t = *this;
    for (TileRow* r : {&t.delta, &t.delta_u, &t.dy, &t.dBu, &t.dA_sum, &t.y}) *r = r->of(g);
    return t;
  }
};

/// The states of the first of the groups in hand; those of the next lie behind them.
struct BwdStates {
  const float* A2;             // (groups, d_state, kLanes)
  StateTerms terms, dterms;    // one group's
  const float* kept;           // (d_state, d_inner): the states before the tile
  int64_t kept_stride, lanes;  // of the last group
  float *dh, *dA;              // (groups, d_state, kLanes)
};

/// Lines of the panel to come for a pass over the tile: an input's, asked for while states are recomputed (the last
/// group's later), and a gradient's (the last pass: the kept states'), while those are swept back over. A gradient's
/// lines are read before they are written: a store that waits for one holds up all those behind it.
struct BwdAhead {
  LinesAhead inputs[kGroupsTogether], gradients[kGroupsTogether];
};

inline void add_to(float* sum, Vec x) { (Vec::load(sum) + x).store(sum); }

/// Recomputes kStates states of kGroups groups over a tile, from state n0, then goes back through it. dh: gradient of
/// the state after the tile in, before it out. dA is added to.
/// With terms (one group) also: the sums of their gradients, which are added to.
template <int kGroups, int kStates, bool kWithBC, bool kWithA, bool kWithTerms>
inline void bwd_states(const BwdTile tile, int64_t n0, const BwdStates of, const BwdAhead& ahead) {
  static_assert(kGroups == 1 || !kWithTerms);
  constexpr int kBoth = kGroups * kStates;
  const int64_t N = tile.d_state, group_states = N * kLanes, first = n0 * kLanes;
  const float* const B = tile.B + n0;
  const float* const C = tile.C + n0;
  const float* const A2 = of.A2 + first;
  const StateTerms terms = kWithTerms ? of.terms.from_state(n0) : StateTerms{};
  const StateTerms dterms = kWithTerms ? of.dterms.from_state(n0) : StateTerms{};
  LinesAhead first_input = ahead.inputs[0];
#pragma GCC unroll 2
  for (int g = 0; g < kGroups; ++g) {
    constexpr int kTogether = together(kStates);
    const TileRow delta = tile.delta.of(g), delta_u = tile.delta_u.of(g);
    const float* const kept = of.kept + n0 * of.kept_stride + g * kLanes;
    Vec h[kStates];
#pragma GCC unroll 8
    for (int j = 0; j < kStates; ++j) {
      h[j] = load_lanes(kept + j * of.kept_stride, g + 1 < kGroups ? kLanes : of.lanes);
    }
    for (int64_t t = 0; t < tile.steps; ++t) {
      if (g == 0) first_input.ask();
      const Vec dt = delta.get(t), dtu = delta_u.get(t);
      float* const tile_decays = tile.decays + (t * kBoth + g * kStates) * kLanes;
      float* const decayed = tile.decayed + (t * kBoth + g * kStates) * kLanes;
#pragma GCC unroll 8
      for (int i = 0; i < kStates; i += kTogether) {
        Vec decay[kTogether];
        decays(dt, A2 + g * group_states + i * kLanes, decay);
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
  Vec dh[kBoth], dA_sum[kBoth];
#pragma GCC unroll 8
  for (int i = 0; i < kBoth; ++i) {
    const int64_t at = i / kStates * group_states + first + i % kStates * kLanes;
    dh[i] = Vec::load(of.dh + at);
    if constexpr (kWithA) dA_sum[i] = Vec::load(of.dA + at);
  }
  LinesAhead last_input = ahead.inputs[kGroups - 1], gradients[kGroups];
#pragma GCC unroll 2
  for (int g = 0; g < kGroups; ++g) gradients[g] = ahead.gradients[g];
  for (int64_t t = tile.steps - 1; t >= 0; --t) {
    if (kGroups > 1) last_input.ask();
#pragma GCC unroll 2
    for (int g = 0; g < kGroups; ++g) gradients[g].ask();
    const float* const decays = tile.decays + t * kBoth * kLanes;
    const float* const decayed = tile.decayed + t * kBoth * kLanes;
    float* const dB = kWithBC ? tile.dB + t * group_states + first : nullptr;
    float* const dC = kWithBC ? tile.dC + t * group_states + first : nullptr;
    Vec dt[kGroups], dtu[kGroups], dy[kGroups], sum_B[kGroups], sum_A[kGroups], sum_C[kGroups];
#pragma GCC unroll 2
    for (int g = 0; g < kGroups; ++g) {
      dt[g] = tile.delta.of(g).get(t), dtu[g] = tile.delta_u.of(g).get(t), dy[g] = tile.dy.of(g).get(t);
      sum_B[g] = tile.dBu.of(g).get(t), sum_A[g] = tile.dA_sum.of(g).get(t), sum_C[g] = tile.y.of(g).get(t);
    }
#pragma GCC unroll 8
    for (int j = 0; j < kStates; ++j) {
      const Vec b_given = Vec::broadcast(B[t * N + j]), c_given = Vec::broadcast(C[t * N + j]);
      const Vec b = kWithTerms ? terms.scaled_B(j, b_given) : b_given;
      const Vec c = kWithTerms ? terms.scaled_C(j, c_given) : c_given;
      Vec dB_sum, dC_sum;
      if constexpr (kWithBC && !kWithTerms) dB_sum = Vec::load(dB + j * kLanes), dC_sum = Vec::load(dC + j * kLanes);
#pragma GCC unroll 2
      for (int g = 0; g < kGroups; ++g) {
        const int i = g * kStates + j;
        const Vec w = Vec::load(decayed + i * kLanes);
        Vec h = fma(dtu[g], b, w);
        if constexpr (kWithTerms) h = terms.offset_state(j, h);
        const Vec dh_t = fma(dy[g], c, dh[i]);
        const Vec dw = dh_t * w;
        sum_B[g] = fma(dh_t, b, sum_B[g]);
        sum_A[g] = fma(dw, Vec::load(A2 + g * group_states + j * kLanes), sum_A[g]);
        sum_C[g] = fma(h, c, sum_C[g]);
        if constexpr (kWithA) dA_sum[i] = fma(dw, dt[g], dA_sum[i]);
        if constexpr (kWithTerms) {
          const Vec db = dh_t * dtu[g], dc = h * dy[g];  // of B' and C'
          add_to(dterms.offset + j * kLanes, dy[g] * c);
          add_to(dterms.B_scale + j * kLanes, db * b_given);
          add_to(dterms.B_bias + j * kLanes, db);
          add_to(dterms.C_scale + j * kLanes, dc * c_given);
          add_to(dterms.C_bias + j * kLanes, dc);
          if constexpr (kWithBC) {
            add_to(dB + j * kLanes, db * Vec::load(terms.B_scale + j * kLanes));
            add_to(dC + j * kLanes, dc * Vec::load(terms.C_scale + j * kLanes));
          }
        } else if constexpr (kWithBC) {
          dB_sum = fma(dh_t, dtu[g], dB_sum);
          dC_sum = fma(h, dy[g], dC_sum);
        }
        dh[i] = dh_t * Vec::load(decays + i * kLanes);
      }
      if constexpr (kWithBC && !kWithTerms) dB_sum.store(dB + j * kLanes), dC_sum.store(dC + j * kLanes);
    }
#pragma GCC unroll 2
    for (int g = 0; g < kGroups; ++g) {
      tile.dBu.of(g).set(t, sum_B[g]);
      tile.dA_sum.of(g).set(t, sum_A[g]);
      tile.y.of(g).set(t, sum_C[g]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kBoth; ++i) {
    const int64_t at = i / kStates * group_states + first + i % kStates * kLanes;
    dh[i].store(of.dh + at);
    if constexpr (kWithA) dA_sum[i].store(of.dA + at);
  }
}

/// `ahead`: one a pass, the last for all passes to come.
template <int kGroups, bool kWithBC, bool kWithA, bool kWithTerms>
inline void bwd_groups(const BwdTile& tile, const BwdStates& of, BwdAhead (&ahead)[kSequencesAhead + 1]) {
  int64_t n = 0;
  int pass = 0;
  const auto go_back = [&]<int kStates>(std::integral_constant<int, kStates>) {
    bwd_states<kGroups, kStates, kWithBC, kWithA, kWithTerms>(tile, n, of, ahead[pass]);
    if (pass < kSequencesAhead) ++pass;
  };
  for (; n + kStatesTogether <= tile.d_state; n += kStatesTogether) {
    go_back(std::integral_constant<int, kStatesTogether>{});
  }
  for (; n < tile.d_state; ++n) go_back(std::integral_constant<int, 1>{});
  for (; pass < kSequencesAhead; ++pass) {
    for (int g = 0; g < kGroups; ++g) ahead[pass].inputs[g].ask(tile.steps), ahead[pass].gradients[g].ask(tile.steps);
  }
}

/// As bwd_groups does it for what is wanted.
template <int kGroups>
inline auto* bwd_groups_for(bool with_bc, bool with_a) {
  if (with_bc) return with_a ? bwd_groups<kGroups, true, true, false> : bwd_groups<kGroups, true, false, false>;
  return with_a ? bwd_groups<kGroups, false, true, false> : bwd_groups<kGroups, false, false, false>;
}

inline int64_t bwd_scratch(int64_t n_chunks, int64_t d_state, bool with_terms) {
  const int64_t per_group = (3 + (with_terms ? 2 * kTerms : 0)) * d_state * kLanes + 5 * kLanes;
  return n_chunks * kGroups * per_group + 2 * kTile * d_state * kLanes + 2 * kTile * d_state +
         kGroupsTogether * (8 + 2 * kStatesTogether) * kTile * kLanes;
}

/// One value a channel and step, for the epilogue of a group.
struct BwdRows {
  TileRow softplus_slope, dgate;  // sigmoid(delta + bias) or 1; dout silu'(z)

  inline BwdRows of(int64_t g) const { return {softplus_slope.of(g), dgate.of(g)}; }
};

/// Fills the tile's rows from the inputs.
template <typename scalar_t>
inline void bwd_prologue(const SelectiveScanBwdParams<scalar_t>& p, int64_t t0, int64_t d, int64_t lanes,
                         const ChunkA2& A, int64_t group, const BwdTile& tile, const BwdRows& rows) {
  const TileRow delta = tile.delta, delta_u = tile.delta_u, dy = tile.dy, slope = rows.softplus_slope,
                dgate = rows.dgate;
  const Vec one = Vec::broadcast(1.0f);
  const Vec bias = load_or_zero(p.delta_bias, d, lanes);
  const auto u_rows = GroupRows<const scalar_t>::of(p.u, t0, d, lanes);
  const auto delta_rows = GroupRows<const scalar_t>::of(p.delta, t0, d, lanes);
  const auto fill = [&](auto activation) {
    for_steps(tile.steps, [&]<int k>(std::integral_constant<int, k>, int64_t t) {
      const Softplus<k> dt = activation(delta_rows.template get<k>(t) + bias);
      delta.set(t, side_by_side<k>([&](int i) { return A.limit_delta(group, dt.value.v[i]); }));
      delta_u.set(t, dt.value * u_rows.template get<k>(t));
      slope.set(t, dt.derivative);
    });
  };
  if (p.delta_softplus) {
    fill([]<int k>(const Vecs<k>& x) { return softplus(x); });
  } else {
    fill([one]<int k>(const Vecs<k>& x) { return Softplus<k>{x, side_by_side<k>([one](int) { return one; })}; });
  }
  const auto dout_rows = GroupRows<const scalar_t>::of(p.dout, t0, d, lanes);
  const auto z_rows = GroupRows<const scalar_t>::of(p.z, t0, d, lanes);
  if (z_rows.data != nullptr) {
    for_steps(tile.steps, [&]<int k>(std::integral_constant<int, k>, int64_t t) {
      const Vecs<k> z = z_rows.template get<k>(t), dout = dout_rows.template get<k>(t);
      const Vecs<k> s = sigmoid(z);
      const Vecs<k> gate = z * s;
      dy.set(t, dout * gate);
      dgate.set(t, dout * side_by_side<k>([&](int i) { return fma(gate.v[i], one - s.v[i], s.v[i]); }));
    });
  } else {
    for (int64_t t = 0; t < tile.steps; ++t) dy.set(t, dout_rows.get(t));
  }
  for (const TileRow& sum : {tile.dBu, tile.dA_sum, tile.y}) fill_zero(sum.data, tile.steps * kLanes);
}

/// Gradients of a group's channels, step by step; adds to the sums of dD, ddelta_bias and dout_offset, (3, kLanes).
template <typename scalar_t>
inline void bwd_epilogue(const SelectiveScanBwdParams<scalar_t>& p, int64_t t0, int64_t d, int64_t lanes,
                         const BwdTile& tile, const BwdRows& rows, float* sums) {
  const TileRow dy_row = tile.dy, dBu = tile.dBu, dA_sum = tile.dA_sum, slope = rows.softplus_slope;
  const auto u_rows = GroupRows<const scalar_t>::of(p.u, t0, d, lanes);
  const auto du = GroupRows<scalar_t>::of(p.du, t0, d, lanes);
  const auto ddelta_rows = GroupRows<scalar_t>::of(p.ddelta, t0, d, lanes);
  const Vec skip = load_or_zero(p.D, d, lanes), offset = load_or_zero(p.out_offset, d, lanes);
  const Vec ln2 = Vec::broadcast(kLn2);
  Vec dD_sum = Vec::load(sums), dbias_sum = Vec::load(sums + kLanes), dy_sum = Vec::load(sums + 2 * kLanes);
  for (int64_t t = tile.steps - 1; t >= 0; --t) {
    const Vec u = u_rows.get(t), dy = dy_row.get(t), sum_B = dBu.get(t);
    const Vec ddelta = fma(u, sum_B, dA_sum.get(t) * ln2) * slope.get(t);
    dD_sum = fma(dy, u, dD_sum);
    dbias_sum = dbias_sum + ddelta;
    dy_sum = dy_sum + dy;
    if (du.data != nullptr) du.set(t, fma(tile.delta.get(t), sum_B, skip * dy));
    if (ddelta_rows.data != nullptr) ddelta_rows.set(t, ddelta);
  }
  dD_sum.store(sums);
  dbias_sum.store(sums + kLanes);
  dy_sum.store(sums + 2 * kLanes);
  if (p.dz.data == nullptr || p.z.data == nullptr) return;
  const auto dz = GroupRows<scalar_t>::of(p.dz, t0, d, lanes);
  const TileRow dgate = rows.dgate, y = tile.y;
  for (int64_t t = 0; t < tile.steps; ++t) dz.set(t, dgate.get(t) * (fma(skip, u_rows.get(t), y.get(t)) + offset));
}

/// (n, kLanes) to (n). Reads up to the next multiple of kLanes rows.
inline void sum_lanes(const float* from, int64_t n, float* to) {
  for (int64_t i = 0; i < n; i += kLanes) store_lanes(Vec::sums(from + i * kLanes), to + i, lanes_left(n, i));
}

template <typename scalar_t>
inline void clear_steps(const Sequence<scalar_t>& s, int64_t begin, int64_t end, const Channels& channels) {
  if (s.data == nullptr) return;
  for (int64_t t = begin; t < end; ++t) {
    std::memset(at_step(s, t) + channels.begin, 0, static_cast<size_t>(channels.size) * sizeof(scalar_t));
  }
}

/// What to ask for while the i-th of the groups in hand is.
template <typename scalar_t>
inline void bwd_ahead(const SelectiveScanBwdParams<scalar_t>& p, const PanelAhead& to_come, int64_t first_tile,
                      const void* in_use, int64_t i, BwdAhead (&ahead)[kSequencesAhead + 1]) {
  for (BwdAhead& a : ahead) a.inputs[i] = a.gradients[i] = LinesAhead::none(in_use);
  if (to_come.tile < 0) return;
  const Sequence<const float> kept{p.checkpoints, 0, p.d_inner};
  for (int64_t step = to_come.step; step < to_come.step + to_come.n_steps; ++step) {
    const int64_t t = to_come.tile * kTile + step;
    int k = 0;
    const auto ask_for = [&](LinesAhead& lines, const auto& s, int64_t row) {
      if (step > to_come.step) lines.ask(to_come.n_groups);
      lines = LinesAhead::of(s, row, to_come.channel, in_use);
    };
    for (const auto* s : {&p.u, &p.delta, &p.z, &p.dout}) ask_for(ahead[k++].inputs[i], *s, t);
    k = 0;
    for (const auto* s : {&p.du, &p.ddelta, &p.dz}) ask_for(ahead[k++].gradients[i], *s, t);
    for (int64_t n = step; n < p.d_state; n += kTile) {
      ask_for(ahead[k].gradients[i], kept, (first_tile + to_come.tile) * p.d_state + n);
    }
  }
}

template <typename scalar_t>
inline void bwd_task(const SelectiveScanBwdParams<scalar_t>& params, const SelectiveScanPartials& partials, int64_t row,
                     const ChunkRange& chunks, float* scratch) {
  const DenormalsAreZero denormals_are_zero;
  const RowSpan span = row_span(params, row);
  SelectiveScanBwdParams<scalar_t> p = params;
  move_to_row(p, row, span);
  const int64_t N = p.d_state, D = p.d_inner;
  const Channels channels = Channels::of(chunks, D);
  const int64_t length = span.length;
  const bool with_terms = has_state_terms(p);
  const bool with_bc = partials.dB != nullptr || partials.dC != nullptr;
  const bool with_a = partials.dA != nullptr;

  Arena arena(scratch);
  const auto take_row = [&arena] { return TileRow{arena.take(kGroupsTogether * kTile * kLanes)}; };
  BwdTile tile{};
  tile.d_state = N;
  for (TileRow* r : {&tile.delta, &tile.delta_u, &tile.dy, &tile.dBu, &tile.dA_sum, &tile.y}) *r = take_row();
  const BwdRows rows{take_row(), take_row()};
  tile.decays = arena.take(kGroupsTogether * kStatesTogether * kTile * kLanes);
  tile.decayed = arena.take(kGroupsTogether * kStatesTogether * kTile * kLanes);
  tile.dB = arena.take(kTile * N * kLanes);
  tile.dC = arena.take(kTile * N * kLanes);
  const int64_t group_states = channels.n_groups * N * kLanes;
  const ChunkA2 A{
      {arena.take(group_states), N}, arena.take(channels.n_groups * kLanes), arena.take(channels.n_groups * kLanes)};
  const GroupStates dh{arena.take(group_states), N}, dA{arena.take(group_states), N};
  float* const sums = arena.take(channels.n_groups * 3 * kLanes);
  float* const B = arena.take(kTile * N);
  float* const C = arena.take(kTile * N);
  tile.B = B;
  tile.C = C;

  const ChunkTerms terms{with_terms ? arena.take(kTerms * group_states) : nullptr, N};
  const ChunkTerms dterms{with_terms ? arena.take(kTerms * group_states) : nullptr, N};

  load_A2(p, channels, A);
  load_terms(p, channels, terms);
  if (with_terms) fill_zero(dterms.data, kTerms * group_states);
  fill_zero(dA.data, group_states);
  fill_zero(dh.data, group_states);
  fill_zero(sums, channels.n_groups * 3 * kLanes);
  for (int64_t g = 0; p.dlast_state != nullptr && g < channels.n_groups; ++g) {
    load_states(p.dlast_state + (row * D + channels.begin + g * kLanes) * N, lanes_left(channels.size, g * kLanes), N,
                1.0f, dh.group(g));
  }

  const int64_t first_tile = first_row_part(params, row, span, kTile);
  for (int64_t index = (length + kTile - 1) / kTile - 1; index >= 0; --index) {
    const int64_t t0 = index * kTile;
    tile.steps = length - t0 < kTile ? length - t0 : kTile;
    widen_tile(p.B, t0, tile.steps, N, B);
    widen_tile(p.C, t0, tile.steps, N, C);
    const float* const kept = p.checkpoints + (first_tile + index) * N * D;
    for (int64_t c = 0; c < chunks.end - chunks.begin; ++c) {
      if (with_bc || with_terms) {
        fill_zero(tile.dB, tile.steps * N * kLanes);
        fill_zero(tile.dC, tile.steps * N * kLanes);
      }
      const int64_t first_group = c * kGroups;
      const int64_t end_group = first_group + kGroups < channels.n_groups ? first_group + kGroups : channels.n_groups;
      const int64_t most_together = with_terms ? 1 : kGroupsTogether;
      for (int64_t g = first_group, n_groups; g < end_group; g += n_groups) {
        n_groups = end_group - g < most_together ? 1 : most_together;
        const auto each_group = [&](auto function) {
          for (int64_t i = 0; i < n_groups; ++i) {
            const int64_t d = channels.begin + (g + i) * kLanes;
            function(i, d, lanes_left(channels.size, (g + i) * kLanes));
          }
        };
        BwdAhead ahead[kSequencesAhead + 1];
        each_group([&](int64_t i, int64_t d, int64_t lanes) {
          bwd_ahead(p, PanelAhead::of(index, -1, g + i, channels), first_tile, dh.data, i, ahead);
          bwd_prologue(p, t0, d, lanes, A, g + i, tile.of(i), rows.of(i));
        });
        const int64_t last_lanes = lanes_left(channels.size, (g + n_groups - 1) * kLanes);
        const BwdStates states{A.A2.group(g), terms.group(g), dterms.group(g), kept + channels.begin + g * kLanes, D,
                               last_lanes,    dh.group(g),    dA.group(g)};
        auto* const run = with_terms      ? bwd_groups<1, true, true, true>
                          : n_groups == 1 ? bwd_groups_for<1>(with_bc, with_a)
                                          : bwd_groups_for<kGroupsTogether>(with_bc, with_a);
        run(tile, states, ahead);
        each_group([&](int64_t i, int64_t d, int64_t lanes) {
          bwd_epilogue(p, t0, d, lanes, tile.of(i), rows.of(i), sums + (g + i) * 3 * kLanes);
        });
      }
      const int64_t first = ((chunks.begin + c) * n_tokens(params) + span.first + t0) * N;
      if (partials.dB != nullptr) sum_lanes(tile.dB, tile.steps * N, partials.dB + first);
      if (partials.dC != nullptr) sum_lanes(tile.dC, tile.steps * N, partials.dC + first);
    }
  }

  clear_steps(p.du, length, span.stored, channels);
  clear_steps(p.ddelta, length, span.stored, channels);
  clear_steps(p.dz, length, span.stored, channels);
  for (int64_t g = 0; g < channels.n_groups; ++g) {
    const int64_t d = channels.begin + g * kLanes;
    const int64_t lanes = lanes_left(channels.size, g * kLanes);
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
