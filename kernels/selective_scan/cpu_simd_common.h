#pragma once

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <type_traits>

#include "kernels/common/vec_math.h"
#include "kernels/selective_scan/cpu_tasks.h"

// defines: what the forward and the backward of the CPU share (include a kernels/common/vec_*.h first)
//
// Channels-last, so the lanes of a Vec are neighbouring channels: no step needs a horizontal sum, and B_t and C_t are
// broadcast. A task goes tile by tile (kScanTile steps); in a tile, group by group (kLanes channels); in a group, a few
// states at a time, whose h stay in registers over the tile's steps.
//
// Kept states (checkpoints) are stored state-major, (n_row_parts, d_state, d_inner): contiguous over the lanes.
// A task moves its copy of the params to its row first (move_to_row).

namespace mpeft::kernels {
namespace {

constexpr int64_t kTile = kScanTile;
constexpr int64_t kLanes = Vec::kLanes;
constexpr int64_t kGroups = (kScanChunk + kLanes - 1) / kLanes;  // of a chunk
constexpr float kLog2E = 1.44269504f;
constexpr float kLn2 = 0.693147181f;
constexpr float kLargestFloat = 3.40282347e38f;

/// Steps whose softplus and gate are computed side by side.
constexpr int kStepsTogether = 4;
/// States of `n` whose decays are computed side by side.
constexpr int together(int n) { return n < Vec::kSideBySide ? n : Vec::kSideBySide; }

/// One step's values for the lanes of a group, a tile long.
struct TileRow {
  float* data;
  inline Vec get(int64_t t) const { return Vec::load(data + t * kLanes); }
  inline void set(int64_t t, Vec x) const { x.store(data + t * kLanes); }
  template <int k>
  MPEFT_INLINE Vecs<k> get(int64_t t) const {
    return side_by_side<k>([&](int i) { return get(t + i); });
  }
  template <int k>
  MPEFT_INLINE void set(int64_t t, const Vecs<k>& x) const {
#pragma GCC unroll 8
    for (int i = 0; i < k; ++i) set(t + i, x.v[i]);
  }
  /// The row of group g, where those of several lie behind one another.
  inline TileRow of(int64_t g) const { return {data + g * kTile * kLanes}; }
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
    float* const row = to + n * kLanes;
    if (lanes == kLanes) {
#pragma GCC unroll 16
      for (int64_t i = 0; i < kLanes; ++i) row[i] = from[i * d_state + n] * scale;
    } else {
      for (int64_t i = 0; i < kLanes; ++i) row[i] = i < lanes ? from[i * d_state + n] * scale : 0.0f;
    }
  }
}

/// from (d_state, kLanes) to (lanes, d_state).
inline void store_states(const float* from, int64_t lanes, int64_t d_state, float* to) {
  for (int64_t i = 0; i < lanes; ++i) {
    for (int64_t n = 0; n < d_state; ++n) to[i * d_state + n] = from[n * kLanes + i];
  }
}

inline bool is_aligned(const void* p, size_t to) { return reinterpret_cast<uintptr_t>(p) % to == 0; }

inline void fill_zero(float* p, int64_t n) { std::memset(p, 0, static_cast<size_t>(n) * sizeof(float)); }

template <typename scalar_t>
inline auto* at_step(const Sequence<scalar_t>& s, int64_t t) {
  return s.data + t * s.time_stride;
}

/// The elements of a group's channels in a tile's steps; null where the sequence is absent.
template <typename scalar_t>
struct GroupRows {
  scalar_t* data;
  int64_t stride, lanes;

  static inline GroupRows of(const Sequence<scalar_t>& s, int64_t t0, int64_t d, int64_t lanes) {
    return {s.data == nullptr ? nullptr : at_step(s, t0) + d, s.time_stride, lanes};
  }
  inline Vec get(int64_t t) const { return load_lanes(data + t * stride, lanes); }
  inline void set(int64_t t, Vec x) const { store_lanes(x, data + t * stride, lanes); }
  template <int k>
  MPEFT_INLINE Vecs<k> get(int64_t t) const {
    return side_by_side<k>([&](int i) { return get(t + i); });
  }
  template <int k>
  MPEFT_INLINE void set(int64_t t, const Vecs<k>& x) const {
#pragma GCC unroll 8
    for (int i = 0; i < k; ++i) set(t + i, x.v[i]);
  }
};

/// body(k, t) for steps t to t + k - 1 side by side (Vecs<k>), k an integral constant: for what needs no step before
/// it.
template <typename Body>
MPEFT_INLINE void for_steps(int64_t steps, const Body& body) {
  constexpr int k = kStepsTogether;
  const int64_t whole = steps - steps % k;
  for (int64_t t = 0; t < whole; t += k) body(std::integral_constant<int, k>{}, t);
  for (int64_t t = whole; t < steps; ++t) body(std::integral_constant<int, 1>{}, t);
}

/// The channels that a task owns: those of neighbouring chunks.
struct Channels {
  int64_t begin, size, n_groups;

  static inline Channels of(const ChunkRange& chunks, int64_t d_inner) {
    const int64_t begin = chunks.begin * kScanChunk, end = chunks.end * kScanChunk;
    const int64_t n = (end < d_inner ? end : d_inner) - begin;
    return {begin, n, (n + kLanes - 1) / kLanes};
  }
};

/// The elements of a step in a panel to come (kTile groups), asked for one by one while a tile's steps are worked on.
/// No processor fetches them by itself when the groups want them, which is one line of a step after the other. A burst
/// would wait for the few fill buffers; along a step, a line after its neighbour, the second-level cache soon runs
/// ahead.
struct LinesAhead {
  const void* next;
  int64_t stride;  // bytes

  /// Nothing to ask for: an address that is in use anyway.
  static inline LinesAhead none(const void* in_use) { return {in_use, 0}; }
  template <typename scalar_t>
  static inline LinesAhead of(const Sequence<scalar_t>& s, int64_t t, int64_t d, const void* in_use) {
    if (s.data == nullptr) return none(in_use);
    return {at_step(s, t) + d, kLanes * static_cast<int64_t>(sizeof(scalar_t))};
  }
  inline void ask() {
    __builtin_prefetch(next, /*rw=*/0, /*locality=*/2);
    next = static_cast<const char*>(next) + stride;
  }
  inline void ask(int64_t n) {
    for (int64_t i = 0; i < n; ++i) ask();
  }
};
/// Sequences of which one after the other is asked for, one a pass over a tile.
constexpr int kSequencesAhead = 4;

/// Which steps of the next panel a group asks for: the i-th of kTile groups for the i-th. The panel lies in this tile
/// or in the one after it.
struct PanelAhead {
  int64_t tile, channel, n_groups, step, n_steps;
  static inline PanelAhead of(int64_t tile, int64_t direction, int64_t group, const Channels& channels) {
    const auto groups_from = [&](int64_t g) { return channels.n_groups - g < kTile ? channels.n_groups - g : kTile; };
    const int64_t first = group / kTile * kTile, i = group - first, n = groups_from(first);
    const int64_t step = i * kTile / n, n_steps = (i + 1) * kTile / n - step;
    const int64_t next = first + kTile;
    if (next < channels.n_groups) return {tile, channels.begin + next * kLanes, groups_from(next), step, n_steps};
    return {tile + direction, channels.begin, groups_from(0), step, n_steps};
  }
};

/// B and C of a tile as floats, (steps, d_state) each.
template <typename scalar_t>
inline void widen_tile(const Sequence<const scalar_t>& s, int64_t t0, int64_t steps, int64_t d_state, float* to) {
  for (int64_t t = 0; t < steps; ++t) widen(at_step(s, t0 + t), d_state, to + t * d_state);
}

template <typename scalar_t>
inline Vec load_or_zero(const scalar_t* p, int64_t offset, int64_t lanes) {
  return p ? load_lanes(p + offset, lanes) : Vec::zero();
}

template <typename scalar_t>
inline void load_initial_states(const SelectiveScanInputs<scalar_t>& p, int64_t row, const Channels& channels,
                                const GroupStates& h) {
  if (p.initial_state == nullptr) return fill_zero(h.data, channels.n_groups * p.d_state * kLanes);
  for (int64_t g = 0; g < channels.n_groups; ++g) {
    const int64_t d = channels.begin + g * kLanes;
    load_states(p.initial_state + row * p.initial_state_batch_stride + d * p.d_state,
                lanes_left(channels.size, g * kLanes), p.d_state, 1.0f, h.group(g));
  }
}

/// A of a chunk in units of log2, so that exp(delta A) = 2^(delta A2), and the range of delta for that. Beyond it a
/// state of the channel would pass 2^128, or the product 2^60 in size: the channel is as infinite, or as gone, at the
/// limit. A2 itself ends at 2^40 (infinite A too), so that the limit of a delta that decays is never below 2^20.
struct ChunkA2 {
  GroupStates A2;
  float *least_delta, *largest_delta;  // (n_groups, kLanes)

  inline Vec limit_delta(int64_t g, Vec delta) const {
    return clamp(delta, Vec::load(least_delta + g * kLanes), Vec::load(largest_delta + g * kLanes));
  }
};

template <typename scalar_t>
inline void load_A2(const SelectiveScanInputs<scalar_t>& p, const Channels& channels, const ChunkA2& to) {
  constexpr float kSmallest = kLargestProduct / kLargestFloat, kLargestA2 = 0x1p40f;
  for (int64_t g = 0; g < channels.n_groups; ++g) {
    const int64_t d = channels.begin + g * kLanes;
    float* const A2 = to.A2.group(g);
    load_states(p.A + d * p.d_state, lanes_left(channels.size, g * kLanes), p.d_state, kLog2E, A2);
    Vec least = Vec::broadcast(-kSmallest), largest = Vec::broadcast(kSmallest);
    for (int64_t n = 0; n < p.d_state; ++n) {
      const Vec a2 = clamp(Vec::load(A2 + n * kLanes), Vec::broadcast(-kLargestA2), Vec::broadcast(kLargestA2));
      a2.store(A2 + n * kLanes);
      least = at_most(least, a2);
      largest = at_least(largest, a2);
    }
    const Vec minus_least = Vec::zero() - least;
    const Vec of_size = Vec::broadcast(kLargestProduct) / at_least(largest, minus_least);
    const auto limit = [&](Vec of_sign) { return at_most(of_size, Vec::broadcast(kLargestPower) / of_sign); };
    limit(largest).store(to.largest_delta + g * kLanes);
    (Vec::zero() - limit(minus_least)).store(to.least_delta + g * kLanes);
  }
}

/// exp(delta A) of neighbouring states.
template <int k>
inline void decays(Vec delta, const float* A2, Vec (&decay)[k]) {
  Vec a2[k];
#pragma GCC unroll 8
  for (int i = 0; i < k; ++i) a2[i] = Vec::load(A2 + i * kLanes);
  exp2_of_products(delta, a2, decay);
}

/// What turns B, C and h of one group into B', C' and h + state_offset, (d_state, kLanes) each.
struct StateTerms {
  float *offset, *B_scale, *B_bias, *C_scale, *C_bias;

  inline StateTerms from_state(int64_t n) const {
    const int64_t i = n * kLanes;
    return {offset + i, B_scale + i, B_bias + i, C_scale + i, C_bias + i};
  }
  inline Vec scaled_B(int j, Vec b) const {
    return fma(Vec::load(B_scale + j * kLanes), b, Vec::load(B_bias + j * kLanes));
  }
  inline Vec scaled_C(int j, Vec c) const {
    return fma(Vec::load(C_scale + j * kLanes), c, Vec::load(C_bias + j * kLanes));
  }
  inline Vec offset_state(int j, Vec h) const { return h + Vec::load(offset + j * kLanes); }
};
constexpr int64_t kTerms = 5;

/// The terms of a chunk's groups, neutral where an input is absent; nothing at all when all are.
struct ChunkTerms {
  float* data = nullptr;
  int64_t d_state = 0;

  inline StateTerms group(int64_t g) const {
    if (data == nullptr) return {};
    const int64_t n = d_state * kLanes;
    float* const p = data + g * kTerms * n;
    return {p, p + n, p + 2 * n, p + 3 * n, p + 4 * n};
  }
};

template <typename scalar_t>
inline void load_terms(const SelectiveScanInputs<scalar_t>& p, const Channels& channels, const ChunkTerms& terms) {
  const auto load = [&](const float* from, float neutral, int64_t g, float* to) {
    const int64_t d = channels.begin + g * kLanes;
    if (from) return load_states(from + d * p.d_state, lanes_left(channels.size, g * kLanes), p.d_state, 1.0f, to);
    for (int64_t i = 0; i < p.d_state * kLanes; ++i) to[i] = neutral;
  };
  for (int64_t g = 0; terms.data != nullptr && g < channels.n_groups; ++g) {
    const StateTerms t = terms.group(g);
    load(p.state_offset, 0.0f, g, t.offset);
    load(p.B_scale, 1.0f, g, t.B_scale);
    load(p.B_bias, 0.0f, g, t.B_bias);
    load(p.C_scale, 1.0f, g, t.C_scale);
    load(p.C_bias, 0.0f, g, t.C_bias);
  }
}

}  // namespace
}  // namespace mpeft::kernels
