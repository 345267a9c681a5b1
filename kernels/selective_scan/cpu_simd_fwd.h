#pragma once

#include <type_traits>

#include "kernels/selective_scan/cpu_simd_common.h"

// defines: fwd_scratch, fwd_task

namespace mpeft::kernels {
namespace {

/// Advances kStates states of a group over a tile and adds C' . (h + offset) to y. Asks for a line ahead each step.
template <int kStates, bool kWithTerms>
inline void fwd_states(int64_t steps, int64_t d_state, const float* A2, const float* B, const float* C,
                       const StateTerms& terms, TileRow delta, TileRow delta_u, TileRow y, float* h, LinesAhead ahead) {
  constexpr int kTogether = together(kStates);
  Vec state[kStates];
#pragma GCC unroll 8
  for (int j = 0; j < kStates; ++j) state[j] = Vec::load(h + j * kLanes);
  for (int64_t t = 0; t < steps; ++t) {
    const Vec dt = delta.get(t), dtu = delta_u.get(t);
    Vec sum = y.get(t);
    ahead.ask();
#pragma GCC unroll 8
    for (int i = 0; i < kStates; i += kTogether) {
      Vec decay[kTogether];
      decays(dt, A2 + i * kLanes, decay);
#pragma GCC unroll 8
      for (int j = i; j < i + kTogether; ++j) {
        Vec b = Vec::broadcast(B[t * d_state + j]), c = Vec::broadcast(C[t * d_state + j]);
        if constexpr (kWithTerms) {
          b = terms.scaled_B(j, b);
          c = terms.scaled_C(j, c);
        }
        state[j] = fma(decay[j - i], state[j], dtu * b);
        sum = fma(kWithTerms ? terms.offset_state(j, state[j]) : state[j], c, sum);
      }
    }
    y.set(t, sum);
  }
#pragma GCC unroll 8
  for (int j = 0; j < kStates; ++j) state[j].store(h + j * kLanes);
}

template <bool kWithTerms>
inline void fwd_group(int64_t steps, int64_t N, const float* A2, const float* B, const float* C,
                      const StateTerms& terms, const TileRow& delta, const TileRow& delta_u, const TileRow& y, float* h,
                      LinesAhead (&ahead)[kSequencesAhead]) {
  int64_t n = 0;
  int pass = 0;
  const auto advance = [&]<int kStates>(std::integral_constant<int, kStates>) {
    fwd_states<kStates, kWithTerms>(steps, N, A2 + n * kLanes, B + n, C + n,
                                    kWithTerms ? terms.from_state(n) : StateTerms{}, delta, delta_u, y, h + n * kLanes,
                                    pass < kSequencesAhead ? ahead[pass] : LinesAhead::none(h));
    ++pass;
  };
  for (; n + 4 <= N; n += 4) advance(std::integral_constant<int, 4>{});
  for (; n < N; ++n) advance(std::integral_constant<int, 1>{});
  for (; pass < kSequencesAhead; ++pass) ahead[pass].ask(steps);
}

inline int64_t fwd_scratch(int64_t n_chunks, int64_t d_state, bool with_terms) {
  const int64_t per_group = (2 + (with_terms ? kTerms : 0)) * d_state * kLanes + 2 * kLanes;
  return n_chunks * kGroups * per_group + 2 * kTile * d_state + 3 * kTile * kLanes;
}

/// The tile's rows of delta, delta u and what y starts from.
template <typename scalar_t>
inline void fwd_prologue(const SelectiveScanFwdParams<scalar_t>& p, int64_t t0, int64_t steps, int64_t d, int64_t lanes,
                         const ChunkA2& A, int64_t group, TileRow delta, TileRow delta_u, TileRow y) {
  const Vec bias = load_or_zero(p.delta_bias, d, lanes);
  const Vec skip = load_or_zero(p.D, d, lanes), offset = load_or_zero(p.out_offset, d, lanes);
  const auto u_rows = GroupRows<const scalar_t>::of(p.u, t0, d, lanes);
  const auto delta_rows = GroupRows<const scalar_t>::of(p.delta, t0, d, lanes);
  const auto fill = [&](auto activation) {
    for_steps(steps, [&]<int k>(std::integral_constant<int, k>, int64_t t) {
      const Vecs<k> u = u_rows.template get<k>(t);
      const Vecs<k> dt = activation(delta_rows.template get<k>(t) + bias);
      delta.set(t, side_by_side<k>([&](int i) { return A.limit_delta(group, dt.v[i]); }));
      delta_u.set(t, dt * u);
      y.set(t, side_by_side<k>([&](int i) { return fma(skip, u.v[i], offset); }));
    });
  };
  if (p.delta_softplus) {
    fill([](const auto& x) { return softplus(x).value; });
  } else {
    fill([](const auto& x) { return x; });
  }
}

template <typename scalar_t>
inline void fwd_epilogue(const SelectiveScanFwdParams<scalar_t>& p, int64_t t0, int64_t steps, int64_t d, int64_t lanes,
                         TileRow y) {
  const GroupRows<scalar_t> out{p.out + t0 * p.d_inner + d, p.d_inner, lanes};
  const auto z_rows = GroupRows<const scalar_t>::of(p.z, t0, d, lanes);
  if (z_rows.data == nullptr) {
    for (int64_t t = 0; t < steps; ++t) out.set(t, y.get(t));
    return;
  }
  for_steps(steps, [&]<int k>(std::integral_constant<int, k>, int64_t t) {
    const Vecs<k> z = z_rows.template get<k>(t);
    out.set(t, y.template get<k>(t) * (z * sigmoid(z)));
  });
}

/// What to ask for while the states of a group advance.
template <typename scalar_t>
inline void fwd_ahead(const SelectiveScanFwdParams<scalar_t>& p, const PanelAhead& to_come, int64_t length,
                      const void* in_use, LinesAhead (&ahead)[kSequencesAhead]) {
  for (LinesAhead& lines : ahead) lines = LinesAhead::none(in_use);
  const Sequence<const scalar_t> out{p.out, 0, p.d_inner};
  for (int64_t i = 0; i < to_come.n_steps; ++i) {
    const int64_t t = to_come.tile * kTile + to_come.step + i;
    if (t >= length) return;
    int k = 0;
    for (const auto* s : {&p.u, &p.delta, &p.z, &out}) {
      if (i > 0) ahead[k].ask(to_come.n_groups);
      ahead[k++] = LinesAhead::of(*s, t, to_come.channel, in_use);
    }
  }
}

/// A group's states, (d_state, kLanes), to where the backward finds them. `streams`: past the caches, without reading
/// what is overwritten. The backward comes when much else has passed.
inline void keep_states(const float* h, int64_t d_state, int64_t lanes, float* kept, int64_t stride, bool streams) {
  for (int64_t n = 0; n < d_state; ++n) {
    const Vec state = Vec::load(h + n * kLanes);
    if (streams) {
      state.stream(kept + n * stride);
    } else {
      store_lanes(state, kept + n * stride, lanes);
    }
  }
}

template <typename scalar_t>
inline void fwd_task(const SelectiveScanFwdParams<scalar_t>& params, int64_t row, const ChunkRange& chunks,
                     float* scratch) {
  const DenormalsAreZero denormals_are_zero;
  const RowSpan span = row_span(params, row);
  SelectiveScanFwdParams<scalar_t> p = params;
  move_to_row(p, row, span);
  const int64_t N = p.d_state, D = p.d_inner;
  const Channels channels = Channels::of(chunks, D);
  const int64_t length = span.length;
  const bool with_terms = has_state_terms(p);
  Arena arena(scratch);
  const TileRow delta{arena.take(kTile * kLanes)}, delta_u{arena.take(kTile * kLanes)}, y{arena.take(kTile * kLanes)};
  const GroupStates h{arena.take(channels.n_groups * N * kLanes), N};
  const ChunkA2 A{{arena.take(channels.n_groups * N * kLanes), N},
                  arena.take(channels.n_groups * kLanes),
                  arena.take(channels.n_groups * kLanes)};
  float* const B = arena.take(kTile * N);
  float* const C = arena.take(kTile * N);
  const ChunkTerms terms{with_terms ? arena.take(kTerms * channels.n_groups * N * kLanes) : nullptr, N};
  load_A2(p, channels, A);
  load_terms(p, channels, terms);
  load_initial_states(p, row, channels, h);

  const int64_t first_tile = first_row_part(params, row, span, kTile);
  const int64_t n_tiles = (length + kTile - 1) / kTile;
  const bool streams_kept = Vec::kStreams && D % kLanes == 0 && is_aligned(p.checkpoints, sizeof(Vec));
  for (int64_t tile = 0; tile < n_tiles; ++tile) {
    const int64_t t0 = tile * kTile;
    const int64_t steps = length - t0 < kTile ? length - t0 : kTile;
    widen_tile(p.B, t0, steps, N, B);
    widen_tile(p.C, t0, steps, N, C);
    float* const kept = p.checkpoints ? p.checkpoints + (first_tile + tile) * N * D : nullptr;
    for (int64_t g = 0; g < channels.n_groups; ++g) {
      const int64_t d = channels.begin + g * kLanes;
      const int64_t lanes = lanes_left(channels.size, g * kLanes);
      LinesAhead ahead[kSequencesAhead];
      fwd_ahead(p, PanelAhead::of(tile, 1, g, channels), length, h.data, ahead);
      if (kept != nullptr) keep_states(h.group(g), N, lanes, kept + d, D, streams_kept);
      fwd_prologue(p, t0, steps, d, lanes, A, g, delta, delta_u, y);
      auto* const run = with_terms ? fwd_group<true> : fwd_group<false>;
      run(steps, N, A.A2.group(g), B, C, terms.group(g), delta, delta_u, y, h.group(g), ahead);
      fwd_epilogue(p, t0, steps, d, lanes, y);
    }
  }
  if (streams_kept) Vec::end_streams();
  for (int64_t t = length; t < span.stored; ++t) {
    std::memset(p.out + t * D + channels.begin, 0, static_cast<size_t>(channels.size) * sizeof(scalar_t));
  }
  for (int64_t g = 0; p.last_state != nullptr && g < channels.n_groups; ++g) {
    const int64_t d = channels.begin + g * kLanes;
    store_states(h.group(g), lanes_left(channels.size, g * kLanes), N, p.last_state + (row * D + d) * N);
  }
}

}  // namespace
}  // namespace mpeft::kernels
