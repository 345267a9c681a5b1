#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/causal_conv1d/cpu_tasks.h"
#include "kernels/common/vec_math.h"

// defines: conv_tasks (include a kernels/common/vec_*.h first)
//
// The lanes of a Vec are neighbouring channels; the last width inputs stay in registers while time advances. A task
// moves its copy of the params to its row first (move_to_row).

namespace mpeft::kernels {
namespace {

constexpr int64_t kLanes = Vec::kLanes;
constexpr int64_t kMaxWidth = 4;

/// The channels of one group, with their parameters in lanes.
template <int kWidth>
struct ConvGroup {
  int64_t d, lanes;
  Vec weight[kWidth], bias;

  template <typename scalar_t>
  static inline ConvGroup of(const CausalConv1dInputs<scalar_t>& p, int64_t d, int64_t lanes) {
    ConvGroup group{d, lanes, {}, Vec::zero()};
    float column[kLanes] = {};
    for (int k = 0; k < kWidth; ++k) {
      for (int64_t i = 0; i < lanes; ++i) column[i] = p.weight[(d + i) * kWidth + k];
      group.weight[k] = Vec::load(column);
    }
    if (p.bias) group.bias = load_lanes(p.bias + d, lanes);
    return group;
  }
};

/// The row of inputs at step t >= -(width - 1); null when it is all zeros.
template <typename scalar_t>
inline const scalar_t* input_row(const CausalConv1dInputs<scalar_t>& p, int64_t row, int64_t t) {
  if (t >= 0) return p.x.data + t * p.x.time_stride;
  if (p.initial_state == nullptr) return nullptr;
  return p.initial_state + row * p.initial_state_batch_stride + (t + p.width - 1) * p.d_inner;
}

/// The inputs of steps t - width + 1 ... t, oldest first, of one group.
template <int kWidth>
struct Window {
  Vec x[kWidth];

  /// Ready for advance() to step t.
  template <typename scalar_t>
  static inline Window before(const CausalConv1dInputs<scalar_t>& p, int64_t row, int64_t t,
                              const ConvGroup<kWidth>& group) {
    Window window;
    window.x[0] = Vec::zero();
    for (int k = 1; k < kWidth; ++k) {
      const scalar_t* const from = input_row(p, row, t - kWidth + k);
      window.x[k] = from ? load_lanes(from + group.d, group.lanes) : Vec::zero();
    }
    return window;
  }

  inline void advance(Vec newest) {
#pragma GCC unroll 4
    for (int k = 0; k + 1 < kWidth; ++k) x[k] = x[k + 1];
    x[kWidth - 1] = newest;
  }

  inline Vec convolve(const ConvGroup<kWidth>& group) const {
    Vec sum = group.bias;
#pragma GCC unroll 4
    for (int k = 0; k < kWidth; ++k) sum = fma(group.weight[k], x[k], sum);
    return sum;
  }
};

struct ConvChunk {
  int64_t begin, end;
  static inline ConvChunk of(int64_t index, int64_t d_inner) {
    const int64_t begin = index * kConvChunk;
    return {begin, d_inner - begin < kConvChunk ? d_inner : begin + kConvChunk};
  }
};

// --- forward ---

template <int kWidth, typename scalar_t>
inline void fwd_steps(const CausalConv1dFwdParams<scalar_t>& p, int64_t row, int64_t t0, int64_t t1,
                      const ConvGroup<kWidth>& group) {
  auto window = Window<kWidth>::before(p, row, t0, group);
  for (int64_t t = t0; t < t1; ++t) {
    window.advance(load_lanes(input_row(p, row, t) + group.d, group.lanes));
    Vec out = window.convolve(group);
    if (p.silu) out = out * sigmoid(out);
    store_lanes(out, p.out + t * p.d_inner + group.d, group.lanes);
  }
}

template <int kWidth, typename scalar_t>
inline void fwd_width(const CausalConv1dFwdParams<scalar_t>& p, int64_t row, const ConvChunk& chunk, int64_t length) {
  for (int64_t t0 = 0; t0 < length; t0 += kConvTile) {
    const int64_t t1 = t0 + kConvTile < length ? t0 + kConvTile : length;
    for (int64_t d = chunk.begin; d < chunk.end; d += kLanes) {
      fwd_steps<kWidth>(p, row, t0, t1, ConvGroup<kWidth>::of(p, d, lanes_left(chunk.end, d)));
    }
  }
}

template <typename scalar_t>
inline void copy_or_clear(const scalar_t* from, scalar_t* to, const ConvChunk& chunk) {
  const auto bytes = static_cast<size_t>(chunk.end - chunk.begin) * sizeof(scalar_t);
  if (from) {
    std::memcpy(to + chunk.begin, from + chunk.begin, bytes);
  } else {
    std::memset(to + chunk.begin, 0, bytes);
  }
}

template <typename scalar_t>
inline void fwd_task(const CausalConv1dFwdParams<scalar_t>& params, int64_t row, int64_t chunk_index, float*) {
  const DenormalsAreZero denormals_are_zero;
  const RowSpan span = row_span(params, row);
  CausalConv1dFwdParams<scalar_t> p = params;
  move_to_row(p, row, span);
  const ConvChunk chunk = ConvChunk::of(chunk_index, p.d_inner);
  const int64_t length = span.length;
  if (p.width == 2) fwd_width<2>(p, row, chunk, length);
  if (p.width == 3) fwd_width<3>(p, row, chunk, length);
  if (p.width == 4) fwd_width<4>(p, row, chunk, length);
  for (int64_t t = length; t < span.stored; ++t) {
    copy_or_clear(static_cast<const scalar_t*>(nullptr), p.out + t * p.d_inner, chunk);
  }
  const int64_t history = p.width - 1;
  for (int64_t j = 0; p.last_state != nullptr && j < history; ++j) {
    copy_or_clear(input_row(p, row, length - history + j), p.last_state + (row * history + j) * p.d_inner, chunk);
  }
}

// --- backward ---

/// Sums of a group over the steps of a row: dweight and, last, dbias; (width + 1, kLanes).
using ConvSums = float*;

/// dp of steps [t0, t1), and of the width - 1 steps behind them (0 beyond the row), to dp; dweight and dbias of [t0,
/// t1) to sums.
template <int kWidth, typename scalar_t>
inline void bwd_activation(const CausalConv1dBwdParams<scalar_t>& p, int64_t row, int64_t t0, int64_t t1,
                           int64_t length, const ConvGroup<kWidth>& group, float* dp, ConvSums sums) {
  const Vec one = Vec::broadcast(1.0f);
  Vec dweight[kWidth], dbias = Vec::load(sums + kWidth * kLanes);
#pragma GCC unroll 4
  for (int k = 0; k < kWidth; ++k) dweight[k] = Vec::load(sums + k * kLanes);
  auto window = Window<kWidth>::before(p, row, t0, group);
  for (int64_t t = t0; t < t1 + kWidth - 1; ++t) {
    Vec grad = Vec::zero();
    if (t < length) {
      window.advance(load_lanes(input_row(p, row, t) + group.d, group.lanes));
      grad = load_lanes(p.dout.data + t * p.dout.time_stride + group.d, group.lanes);
      if (p.silu) {
        const Vec pre = window.convolve(group);
        const Vec s = sigmoid(pre);
        grad = grad * fma(pre * s, one - s, s);
      }
    }
    grad.store(dp + (t - t0) * kLanes);
    if (t < t1) {
      dbias = dbias + grad;
#pragma GCC unroll 4
      for (int k = 0; k < kWidth; ++k) dweight[k] = fma(grad, window.x[k], dweight[k]);
    }
  }
#pragma GCC unroll 4
  for (int k = 0; k < kWidth; ++k) dweight[k].store(sums + k * kLanes);
  dbias.store(sums + kWidth * kLanes);
}

/// sum_k weight[k] dp_{t + width - 1 - k}, with dp from step t0 on; steps before the first have no dp.
template <int kWidth>
inline Vec input_gradient(const ConvGroup<kWidth>& group, const float* dp, int64_t t, int64_t t0) {
  Vec sum = Vec::zero();
#pragma GCC unroll 4
  for (int k = kWidth - 1; k >= 0; --k) {
    const int64_t from = t + kWidth - 1 - k;
    if (from >= t0) sum = fma(group.weight[k], Vec::load(dp + (from - t0) * kLanes), sum);
  }
  return sum;
}

template <int kWidth, typename scalar_t>
inline void bwd_width(const CausalConv1dBwdParams<scalar_t>& p, const CausalConv1dPartials& partials, int64_t row,
                      const ConvChunk& chunk, int64_t length, float* scratch) {
  float* const dp = scratch;                                            // (kConvTile + width - 1, kLanes)
  float* const all_sums = scratch + (kConvTile + kWidth - 1) * kLanes;  // a group: (width + 1, kLanes)
  constexpr int64_t kSums = (kWidth + 1) * kLanes;
  const int64_t n_groups = (chunk.end - chunk.begin + kLanes - 1) / kLanes;
  std::memset(all_sums, 0, static_cast<size_t>(n_groups * kSums) * sizeof(float));

  for (int64_t t0 = 0; t0 < length; t0 += kConvTile) {
    const int64_t t1 = t0 + kConvTile < length ? t0 + kConvTile : length;
    for (int64_t d = chunk.begin; d < chunk.end; d += kLanes) {
      const auto group = ConvGroup<kWidth>::of(p, d, lanes_left(chunk.end, d));
      bwd_activation<kWidth>(p, row, t0, t1, length, group, dp, all_sums + (d - chunk.begin) / kLanes * kSums);
      for (int64_t t = t0; p.dx.data != nullptr && t < t1; ++t) {
        store_lanes(input_gradient(group, dp, t, t0), p.dx.data + t * p.dx.time_stride + d, group.lanes);
      }
      for (int64_t j = 0; p.dinitial_state != nullptr && t0 == 0 && j < kWidth - 1; ++j) {
        store_lanes(input_gradient(group, dp, j - (kWidth - 1), 0),
                    p.dinitial_state + (row * (kWidth - 1) + j) * p.d_inner + d, group.lanes);
      }
    }
  }
  for (int64_t d = chunk.begin; d < chunk.end; d += kLanes) {
    const int64_t lanes = lanes_left(chunk.end, d);
    const float* const sums = all_sums + (d - chunk.begin) / kLanes * kSums;
    for (int64_t i = 0; partials.dweight != nullptr && i < lanes; ++i) {
      for (int k = 0; k < kWidth; ++k) partials.dweight[(row * p.d_inner + d + i) * kWidth + k] = sums[k * kLanes + i];
    }
    if (partials.dbias) store_lanes(Vec::load(sums + kWidth * kLanes), partials.dbias + row * p.d_inner + d, lanes);
  }
}

template <typename scalar_t>
inline void bwd_task(const CausalConv1dBwdParams<scalar_t>& params, const CausalConv1dPartials& partials, int64_t row,
                     int64_t chunk_index, float* scratch) {
  const DenormalsAreZero denormals_are_zero;
  const RowSpan span = row_span(params, row);
  CausalConv1dBwdParams<scalar_t> p = params;
  move_to_row(p, row, span);
  const ConvChunk chunk = ConvChunk::of(chunk_index, p.d_inner);
  const int64_t length = span.length;
  if (p.width == 2) bwd_width<2>(p, partials, row, chunk, length, scratch);
  if (p.width == 3) bwd_width<3>(p, partials, row, chunk, length, scratch);
  if (p.width == 4) bwd_width<4>(p, partials, row, chunk, length, scratch);
  for (int64_t t = length; p.dx.data != nullptr && t < span.stored; ++t) {
    copy_or_clear(static_cast<const scalar_t*>(nullptr), p.dx.data + t * p.dx.time_stride, chunk);
  }
  for (int64_t j = 0; p.dinitial_state != nullptr && length == 0 && j < p.width - 1; ++j) {
    copy_or_clear(static_cast<const float*>(nullptr), p.dinitial_state + (row * (p.width - 1) + j) * p.d_inner, chunk);
  }
}

template <typename scalar_t>
inline CausalConv1dTasks<scalar_t> conv_tasks() {
  constexpr int64_t kGroups = (kConvChunk + kLanes - 1) / kLanes;
  constexpr int64_t kScratch = (kConvTile + kMaxWidth - 1) * kLanes + kGroups * (kMaxWidth + 1) * kLanes;
  return {kScratch, fwd_task<scalar_t>, bwd_task<scalar_t>};
}

}  // namespace
}  // namespace mpeft::kernels
