#pragma once

#include <cstdint>
#include <cstring>
#include <initializer_list>

#include "kernels/common/vec_math.h"
#include "kernels/selective_scan/cpu_tasks.h"

// defines: scan_tasks (include a kernels/common/vec_*.h first)
//
// Channels-last, so the lanes of a Vec are neighbouring channels: no step needs a horizontal sum, and B_t and C_t are
// broadcast. A task goes tile by tile (kScanTile steps); in a tile, group by group (kLanes channels); in a group, a few
// states at a time, whose h stay in registers over the tile's steps.
//
// Kept states (checkpoints) are stored state-major, (batch, n_tiles, d_state, d_inner): contiguous over the lanes.

namespace mpeft::kernels {
namespace {

constexpr int64_t kTile = kScanTile;
constexpr int64_t kLanes = Vec::kLanes;
constexpr int64_t kGroups = (kScanChunk + kLanes - 1) / kLanes;  // of a chunk
constexpr float kLog2E = 1.44269504f;
constexpr float kLn2 = 0.693147181f;

/// One step's values for the lanes of a group, a tile long.
struct TileRow {
  float* data;
  inline Vec get(int64_t t) const { return Vec::load(data + t * kLanes); }
  inline void set(int64_t t, Vec x) const { x.store(data + t * kLanes); }
};

/// Hands out parts of the scratch memory.
class Arena {
 public:
  explicit Arena(float* begin) : next_(begin) {}
  inline float* take(int64_t n) {
    float* const part = next_;
    next_ += n;
    return part;
  }

 private:
  float* next_;
};

/// Fields of (d_state, kLanes) for each group of a chunk.
struct GroupStates {
  float* data;
  int64_t d_state;
  inline float* group(int64_t g) const { return data + g * d_state * kLanes; }
};

/// from (lanes, d_state) to (d_state, kLanes), zeros in the lanes beyond; scaled.
inline void load_states(const float* from, int64_t lanes, int64_t d_state, float scale, float* to) {
  for (int64_t n = 0; n < d_state; ++n) {
    for (int64_t i = 0; i < kLanes; ++i) to[n * kLanes + i] = i < lanes ? from[i * d_state + n] * scale : 0.0f;
  }
}

/// from (d_state, kLanes) to (lanes, d_state).
inline void store_states(const float* from, int64_t lanes, int64_t d_state, float* to) {
  for (int64_t i = 0; i < lanes; ++i) {
    for (int64_t n = 0; n < d_state; ++n) to[i * d_state + n] = from[n * kLanes + i];
  }
}

inline void fill_zero(float* p, int64_t n) { std::memset(p, 0, static_cast<size_t>(n) * sizeof(float)); }

template <typename scalar_t>
inline auto* at_step(const Sequence<scalar_t>& s, int64_t row, int64_t t) {
  return s.data + row * s.batch_stride + t * s.time_stride;
}

/// B and C of a tile as floats, (steps, d_state) each.
template <typename scalar_t>
inline void widen_tile(const Sequence<const scalar_t>& s, int64_t row, int64_t t0, int64_t steps, int64_t d_state,
                       float* to) {
  for (int64_t t = 0; t < steps; ++t) widen(at_step(s, row, t0 + t), d_state, to + t * d_state);
}

template <typename scalar_t>
inline Vec load_or_zero(const scalar_t* p, int64_t offset, int64_t lanes) {
  return p ? load_lanes(p + offset, lanes) : Vec::zero();
}

/// The channels that a task owns.
struct Chunk {
  int64_t begin, n_channels, n_groups;

  static inline Chunk of(int64_t index, int64_t size, int64_t d_inner) {
    const int64_t begin = index * size;
    const int64_t n = d_inner - begin < size ? d_inner - begin : size;
    return {begin, n, (n + kLanes - 1) / kLanes};
  }
};

template <typename scalar_t>
inline void load_initial_states(const SelectiveScanInputs<scalar_t>& p, int64_t row, const Chunk& chunk,
                                const GroupStates& h) {
  if (p.initial_state == nullptr) return fill_zero(h.data, chunk.n_groups * p.d_state * kLanes);
  for (int64_t g = 0; g < chunk.n_groups; ++g) {
    const int64_t d = chunk.begin + g * kLanes;
    load_states(p.initial_state + row * p.initial_state_batch_stride + d * p.d_state,
                lanes_left(chunk.n_channels, g * kLanes), p.d_state, 1.0f, h.group(g));
  }
}

/// A in units of log2, so that exp(delta A) = 2^(delta A2).
template <typename scalar_t>
inline void load_A2(const SelectiveScanInputs<scalar_t>& p, const Chunk& chunk, const GroupStates& A2) {
  for (int64_t g = 0; g < chunk.n_groups; ++g) {
    const int64_t d = chunk.begin + g * kLanes;
    load_states(p.A + d * p.d_state, lanes_left(chunk.n_channels, g * kLanes), p.d_state, kLog2E, A2.group(g));
  }
}

// --- forward ---

/// Advances kStates states of a group over a tile and adds C . h to y.
template <int kStates>
inline void fwd_states(int64_t steps, int64_t d_state, const float* A2, const float* B, const float* C,
                       const TileRow& delta, const TileRow& delta_u, const TileRow& y, float* h) {
  Vec a2[kStates], state[kStates];
#pragma GCC unroll 8
  for (int j = 0; j < kStates; ++j) {
    a2[j] = Vec::load(A2 + j * kLanes);
    state[j] = Vec::load(h + j * kLanes);
  }
  for (int64_t t = 0; t < steps; ++t) {
    const Vec dt = delta.get(t), dtu = delta_u.get(t);
    Vec sum = y.get(t);
#pragma GCC unroll 8
    for (int j = 0; j < kStates; ++j) {
      state[j] = fma(decay_exp2(dt * a2[j]), state[j], dtu * Vec::broadcast(B[t * d_state + j]));
      sum = fma(state[j], Vec::broadcast(C[t * d_state + j]), sum);
    }
    y.set(t, sum);
  }
#pragma GCC unroll 8
  for (int j = 0; j < kStates; ++j) state[j].store(h + j * kLanes);
}

inline int64_t fwd_scratch(int64_t d_state) {
  return 2 * kGroups * d_state * kLanes + 2 * kTile * d_state + 3 * kTile * kLanes + kLanes;
}

template <typename scalar_t>
inline void fwd_task(const SelectiveScanFwdParams<scalar_t>& p, int64_t row, int64_t chunk_index, float* scratch) {
  const DenormalsAreZero denormals_are_zero;
  const int64_t N = p.d_state, D = p.d_inner;
  const Chunk chunk = Chunk::of(chunk_index, kScanChunk, D);
  const int64_t length = row_length(p.lengths, row, p.seqlen);
  Arena arena(scratch);
  const TileRow delta{arena.take(kTile * kLanes)}, delta_u{arena.take(kTile * kLanes)}, y{arena.take(kTile * kLanes)};
  const GroupStates A2{arena.take(chunk.n_groups * N * kLanes), N}, h{arena.take(chunk.n_groups * N * kLanes), N};
  float* const B = arena.take(kTile * N);
  float* const C = arena.take(kTile * N);
  load_A2(p, chunk, A2);
  load_initial_states(p, row, chunk, h);

  const int64_t n_tiles = (p.seqlen + kTile - 1) / kTile;
  for (int64_t tile = 0; tile * kTile < length; ++tile) {
    const int64_t t0 = tile * kTile;
    const int64_t steps = length - t0 < kTile ? length - t0 : kTile;
    widen_tile(p.B, row, t0, steps, N, B);
    widen_tile(p.C, row, t0, steps, N, C);
    for (int64_t g = 0; g < chunk.n_groups; ++g) {
      const int64_t d = chunk.begin + g * kLanes;
      const int64_t lanes = lanes_left(chunk.n_channels, g * kLanes);
      float* const hg = h.group(g);
      const float* const Ag = A2.group(g);
      if (p.checkpoints) {
        float* const kept = p.checkpoints + (row * n_tiles + tile) * N * D + d;
        for (int64_t n = 0; n < N; ++n) store_lanes(Vec::load(hg + n * kLanes), kept + n * D, lanes);
      }
      const Vec bias = load_or_zero(p.delta_bias, d, lanes);
      const Vec skip = load_or_zero(p.D, d, lanes);
      for (int64_t t = 0; t < steps; ++t) {
        const Vec u = load_lanes(at_step(p.u, row, t0 + t) + d, lanes);
        Vec dt = load_lanes(at_step(p.delta, row, t0 + t) + d, lanes) + bias;
        if (p.delta_softplus) dt = softplus(dt).value;
        delta.set(t, dt);
        delta_u.set(t, dt * u);
        y.set(t, skip * u);
      }
      int64_t n = 0;
      for (; n + 4 <= N; n += 4)
        fwd_states<4>(steps, N, Ag + n * kLanes, B + n, C + n, delta, delta_u, y, hg + n * kLanes);
      for (; n < N; ++n) fwd_states<1>(steps, N, Ag + n * kLanes, B + n, C + n, delta, delta_u, y, hg + n * kLanes);
      for (int64_t t = 0; t < steps; ++t) {
        Vec out = y.get(t);
        if (p.z.data) {
          const Vec z = load_lanes(at_step(p.z, row, t0 + t) + d, lanes);
          out = out * (z * sigmoid(z));
        }
        store_lanes(out, p.out + (row * p.seqlen + t0 + t) * D + d, lanes);
      }
    }
  }
  for (int64_t t = length; t < p.seqlen; ++t) {
    std::memset(p.out + (row * p.seqlen + t) * D + chunk.begin, 0,
                static_cast<size_t>(chunk.n_channels) * sizeof(scalar_t));
  }
  for (int64_t g = 0; p.last_state != nullptr && g < chunk.n_groups; ++g) {
    const int64_t d = chunk.begin + g * kLanes;
    store_states(h.group(g), lanes_left(chunk.n_channels, g * kLanes), N, p.last_state + (row * D + d) * N);
  }
}

// --- backward ---

/// What the states of a tile read and leave, for one group.
struct BwdTile {
  int64_t steps, d_state;
  const float *B, *C;          // (steps, d_state)
  TileRow delta, delta_u, dy;  // read
  TileRow dBu, dA_sum, y;      // left: sum_n dh B, sum_n dh w A2, sum_n C h   (w = exp(delta A) h_before)
  float *decays, *decayed;     // (steps, kStates, kLanes): exp(delta A) and w, for the states in hand
  float *dB, *dC;              // (steps, d_state, kLanes) sums over groups, or null
};

/// Recomputes kStates states of a group over a tile, then goes back through it. dh: gradient of the state after the
/// tile in, before it out. dA is added to.
template <int kStates, bool kWithBC, bool kWithA>
inline void bwd_states(const BwdTile& tile, int64_t n0, const float* A2, const float* kept, int64_t kept_stride,
                       int64_t lanes, float* dh, float* dA) {
  const int64_t N = tile.d_state;
  const float* const B = tile.B + n0;
  const float* const C = tile.C + n0;
  Vec a2[kStates];
  {
    Vec h[kStates];
#pragma GCC unroll 8
    for (int j = 0; j < kStates; ++j) {
      a2[j] = Vec::load(A2 + (n0 + j) * kLanes);
      h[j] = load_lanes(kept + (n0 + j) * kept_stride, lanes);
    }
    for (int64_t t = 0; t < tile.steps; ++t) {
      const Vec dt = tile.delta.get(t), dtu = tile.delta_u.get(t);
      float* const decays = tile.decays + t * kStates * kLanes;
      float* const decayed = tile.decayed + t * kStates * kLanes;
#pragma GCC unroll 8
      for (int j = 0; j < kStates; ++j) {
        const Vec decay = decay_exp2(dt * a2[j]);
        const Vec w = decay * h[j];
        decay.store(decays + j * kLanes);
        w.store(decayed + j * kLanes);
        h[j] = fma(dtu, Vec::broadcast(B[t * N + j]), w);
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
      const Vec b = Vec::broadcast(B[t * N + j]), c = Vec::broadcast(C[t * N + j]);
      const Vec w = Vec::load(decayed + j * kLanes);
      const Vec h = fma(dtu, b, w);
      const Vec gt = fma(dy, c, g[j]);
      const Vec gw = gt * w;
      sum_B = fma(gt, b, sum_B);
      sum_A = fma(gw, a2[j], sum_A);
      sum_C = fma(h, c, sum_C);
      if constexpr (kWithA) dA_sum[j] = fma(gw, dt, dA_sum[j]);
      if constexpr (kWithBC) {
        float* const dB = tile.dB + (t * N + n0 + j) * kLanes;
        float* const dC = tile.dC + (t * N + n0 + j) * kLanes;
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

template <bool kWithBC, bool kWithA>
inline void bwd_group(const BwdTile& tile, const float* A2, const float* kept, int64_t kept_stride, int64_t lanes,
                      float* dh, float* dA) {
  int64_t n = 0;
  for (; n + 4 <= tile.d_state; n += 4) bwd_states<4, kWithBC, kWithA>(tile, n, A2, kept, kept_stride, lanes, dh, dA);
  for (; n < tile.d_state; ++n) bwd_states<1, kWithBC, kWithA>(tile, n, A2, kept, kept_stride, lanes, dh, dA);
}

inline int64_t bwd_scratch(int64_t d_state) {
  const int64_t per_group = 3 * d_state * kLanes + 2 * kLanes;
  return kGroups * per_group + 2 * kTile * d_state * kLanes + 2 * kTile * d_state + (8 + 2 * 4) * kTile * kLanes;
}

/// One value a channel and step, for the epilogue of a group.
struct BwdRows {
  TileRow softplus_slope, dgate;  // sigmoid(delta + bias) or 1; dout silu'(z)
};

/// Fills the tile's rows from the inputs.
template <typename scalar_t>
inline void bwd_prologue(const SelectiveScanBwdParams<scalar_t>& p, int64_t row, int64_t t0, int64_t d, int64_t lanes,
                         const BwdTile& tile, const BwdRows& rows) {
  const Vec one = Vec::broadcast(1.0f);
  const Vec bias = load_or_zero(p.delta_bias, d, lanes);
  for (int64_t t = 0; t < tile.steps; ++t) {
    const Vec u = load_lanes(at_step(p.u, row, t0 + t) + d, lanes);
    const Vec dout = load_lanes(at_step(p.dout, row, t0 + t) + d, lanes);
    const Vec raw = load_lanes(at_step(p.delta, row, t0 + t) + d, lanes) + bias;
    Softplus dt{raw, one};
    if (p.delta_softplus) dt = softplus(raw);
    tile.delta.set(t, dt.value);
    tile.delta_u.set(t, dt.value * u);
    rows.softplus_slope.set(t, dt.derivative);
    if (p.z.data) {
      const Vec z = load_lanes(at_step(p.z, row, t0 + t) + d, lanes);
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

/// Gradients of a group's channels, step by step; adds to the sums of dD and ddelta_bias.
template <typename scalar_t>
inline void bwd_epilogue(const SelectiveScanBwdParams<scalar_t>& p, int64_t row, int64_t t0, int64_t d, int64_t lanes,
                         const BwdTile& tile, const BwdRows& rows, float* dD, float* ddelta_bias) {
  const Vec skip = load_or_zero(p.D, d, lanes);
  Vec dD_sum = Vec::load(dD), dbias_sum = Vec::load(ddelta_bias);
  for (int64_t t = tile.steps - 1; t >= 0; --t) {
    const Vec u = load_lanes(at_step(p.u, row, t0 + t) + d, lanes);
    const Vec dy = tile.dy.get(t), sum_B = tile.dBu.get(t);
    const Vec ddelta = fma(u, sum_B, tile.dA_sum.get(t) * Vec::broadcast(kLn2)) * rows.softplus_slope.get(t);
    dD_sum = fma(dy, u, dD_sum);
    dbias_sum = dbias_sum + ddelta;
    if (p.du.data) store_lanes(fma(tile.delta.get(t), sum_B, skip * dy), at_step(p.du, row, t0 + t) + d, lanes);
    if (p.ddelta.data) store_lanes(ddelta, at_step(p.ddelta, row, t0 + t) + d, lanes);
    if (p.dz.data && p.z.data) {
      store_lanes(rows.dgate.get(t) * fma(skip, u, tile.y.get(t)), at_step(p.dz, row, t0 + t) + d, lanes);
    }
  }
  dD_sum.store(dD);
  dbias_sum.store(ddelta_bias);
}

template <typename scalar_t>
inline void clear_steps(const Sequence<scalar_t>& s, int64_t row, int64_t begin, int64_t end, const Chunk& chunk) {
  if (s.data == nullptr) return;
  for (int64_t t = begin; t < end; ++t) {
    std::memset(at_step(s, row, t) + chunk.begin, 0, static_cast<size_t>(chunk.n_channels) * sizeof(scalar_t));
  }
}

template <typename scalar_t>
inline void bwd_task(const SelectiveScanBwdParams<scalar_t>& p, const SelectiveScanPartials& partials, int64_t row,
                     int64_t chunk_index, float* scratch) {
  const DenormalsAreZero denormals_are_zero;
  const int64_t N = p.d_state, D = p.d_inner;
  const Chunk chunk = Chunk::of(chunk_index, kScanChunk, D);
  const int64_t length = row_length(p.lengths, row, p.seqlen);
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
  const GroupStates A2{arena.take(group_states), N}, dh{arena.take(group_states), N}, dA{arena.take(group_states), N};
  float* const dD = arena.take(chunk.n_groups * kLanes);
  float* const ddelta_bias = arena.take(chunk.n_groups * kLanes);
  float* const B = arena.take(kTile * N);
  float* const C = arena.take(kTile * N);
  tile.B = B;
  tile.C = C;

  load_A2(p, chunk, A2);
  fill_zero(dA.data, group_states);
  fill_zero(dh.data, group_states);
  fill_zero(dD, chunk.n_groups * kLanes);
  fill_zero(ddelta_bias, chunk.n_groups * kLanes);
  for (int64_t g = 0; p.dlast_state != nullptr && g < chunk.n_groups; ++g) {
    load_states(p.dlast_state + (row * D + chunk.begin + g * kLanes) * N, lanes_left(chunk.n_channels, g * kLanes), N,
                1.0f, dh.group(g));
  }

  const int64_t n_tiles = (p.seqlen + kTile - 1) / kTile;
  for (int64_t index = (length + kTile - 1) / kTile - 1; index >= 0; --index) {
    const int64_t t0 = index * kTile;
    tile.steps = length - t0 < kTile ? length - t0 : kTile;
    widen_tile(p.B, row, t0, tile.steps, N, B);
    widen_tile(p.C, row, t0, tile.steps, N, C);
    if (with_bc) {
      fill_zero(tile.dB, tile.steps * N * kLanes);
      fill_zero(tile.dC, tile.steps * N * kLanes);
    }
    for (int64_t g = 0; g < chunk.n_groups; ++g) {
      const int64_t d = chunk.begin + g * kLanes;
      const int64_t lanes = lanes_left(chunk.n_channels, g * kLanes);
      const float* const kept = p.checkpoints + (row * n_tiles + index) * N * D + d;
      bwd_prologue(p, row, t0, d, lanes, tile, rows);
      auto* const run = with_bc ? (with_a ? bwd_group<true, true> : bwd_group<true, false>)
                                : (with_a ? bwd_group<false, true> : bwd_group<false, false>);
      run(tile, A2.group(g), kept, D, lanes, dh.group(g), dA.group(g));
      bwd_epilogue(p, row, t0, d, lanes, tile, rows, dD + g * kLanes, ddelta_bias + g * kLanes);
    }
    const int64_t first = ((chunk_index * p.batch + row) * p.seqlen + t0) * N;
    for (int64_t i = 0; partials.dB != nullptr && i < tile.steps * N; ++i) {
      partials.dB[first + i] = Vec::load(tile.dB + i * kLanes).sum();
    }
    for (int64_t i = 0; partials.dC != nullptr && i < tile.steps * N; ++i) {
      partials.dC[first + i] = Vec::load(tile.dC + i * kLanes).sum();
    }
  }

  clear_steps(p.du, row, length, p.seqlen, chunk);
  clear_steps(p.ddelta, row, length, p.seqlen, chunk);
  clear_steps(p.dz, row, length, p.seqlen, chunk);
  for (int64_t g = 0; g < chunk.n_groups; ++g) {
    const int64_t d = chunk.begin + g * kLanes;
    const int64_t lanes = lanes_left(chunk.n_channels, g * kLanes);
    if (with_a) store_states(dA.group(g), lanes, N, partials.dA + (row * D + d) * N);
    if (p.dinitial_state) store_states(dh.group(g), lanes, N, p.dinitial_state + (row * D + d) * N);
    if (partials.dD) store_lanes(Vec::load(dD + g * kLanes), partials.dD + row * D + d, lanes);
    if (partials.ddelta_bias)
      store_lanes(Vec::load(ddelta_bias + g * kLanes), partials.ddelta_bias + row * D + d, lanes);
  }
}

template <typename scalar_t>
inline SelectiveScanTasks<scalar_t> scan_tasks() {
  return {fwd_scratch, fwd_task<scalar_t>, bwd_scratch, bwd_task<scalar_t>};
}

}  // namespace
}  // namespace mpeft::kernels
