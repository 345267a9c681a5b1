#pragma once

#include <cstdint>

#include "kernels/common/vec_math.h"
#include "kernels/cross_entropy/cpu_tasks.h"

// defines: entropy_tasks (include a kernels/common/vec_*.h first)
//
// The lanes of a Vec are neighbouring columns of one row. A row is read for its largest logit, for the sum of the
// exponentials and for the gradient: the second and third time from the cache.

namespace mpeft::kernels {
namespace {

constexpr int64_t kLanes = Vec::kLanes;
constexpr float kInfinity = __builtin_inff();

/// Lane by lane the larger of two; a NaN in a stays.
inline Vec larger(Vec a, Vec b) { return clamp(a, b, Vec::broadcast(kInfinity)); }

template <typename scalar_t>
inline float first_of(const scalar_t* p) {
  float values[kLanes];
  load_lanes(p, 1).store(values);
  return values[0];
}

/// A group at the end of a row, -inf in the lanes behind it.
template <typename scalar_t>
inline Vec load_padded(const scalar_t* p, int64_t lanes) {
  float values[kLanes];
  load_lanes(p, lanes).store(values);
  for (int64_t i = lanes; i < kLanes; ++i) values[i] = -kInfinity;
  return Vec::load(values);
}

template <typename scalar_t>
inline float largest_of(const scalar_t* x, int64_t n) {
  // Four chains: one would wait for itself.
  Vec largest[4];
  for (auto& l : largest) l = Vec::broadcast(-kInfinity);
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    for (int64_t k = 0; k < 4; ++k) largest[k] = larger(Vec::load(x + i + k * kLanes), largest[k]);
  }
  for (; i < n; i += kLanes) largest[0] = larger(load_padded(x + i, lanes_left(n, i)), largest[0]);
  float values[kLanes];
  larger(larger(largest[0], largest[1]), larger(largest[2], largest[3])).store(values);
  float result = values[0];
  for (int64_t k = 1; k < kLanes; ++k) result = values[k] > result ? values[k] : result;
  return result;
}

template <typename scalar_t>
inline float sum_of_exponentials(const scalar_t* x, int64_t n, float largest) {
  const Vec shift = Vec::broadcast(largest);
  Vec sum[2] = {Vec::zero(), Vec::zero()};
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    for (int64_t k = 0; k < 2; ++k) sum[k] = sum[k] + exp(Vec::load(x + i + k * kLanes) - shift);
  }
  for (; i < n; i += kLanes) {
    const int64_t lanes = lanes_left(n, i);
    if (lanes == kLanes) {
      sum[0] = sum[0] + exp(Vec::load(x + i) - shift);
      continue;
    }
    // e^-inf is not quite 0 here: the lanes behind the end are left out instead
    float values[kLanes];
    exp(load_lanes(x + i, lanes) - shift).store(values);
    for (int64_t k = lanes; k < kLanes; ++k) values[k] = 0;
    sum[1] = sum[1] + Vec::load(values);
  }
  return (sum[0] + sum[1]).sum();
}

template <typename scalar_t>
inline int64_t first_equal(const scalar_t* x, int64_t n, float value) {
  for (int64_t i = 0; i < n; i += kLanes) {
    const int64_t lanes = lanes_left(n, i);
    float values[kLanes];
    load_lanes(x + i, lanes).store(values);
    for (int64_t k = 0; k < lanes; ++k) {
      if (values[k] == value) return i + k;
    }
  }
  return 0;  // NaN everywhere it matters
}

/// dloss (softmax - onehot) of one row; logits and dlogits may be the same.
template <typename scalar_t>
inline void write_gradient(const CrossEntropyInputs<scalar_t>& p, int64_t row, float largest, float log_sum,
                           float dloss, scalar_t* dlogits) {
  const int64_t label = p.labels[row];
  const scalar_t* const logits = p.logits + row * p.row_stride;
  const bool is_ignored = label == p.ignore_index;
  const bool is_label = label >= 0 && label < p.n_valid;
  if (!is_ignored && !is_label) dloss = __builtin_nanf("");
  const float at_label = is_label ? first_of(logits + label) : 0.0f;  // before dlogits overwrites it
  const int64_t n = is_ignored ? 0 : p.n_valid;
  const Vec shift = Vec::broadcast(largest), norm = Vec::broadcast(log_sum), scale = Vec::broadcast(dloss);
  for (int64_t i = 0; i < n; i += kLanes) {
    const int64_t lanes = lanes_left(n, i);
    store_lanes(scale * exp((load_lanes(logits + i, lanes) - shift) - norm), dlogits + i, lanes);
  }
  for (int64_t i = n; i < p.columns; i += kLanes) store_lanes(Vec::zero(), dlogits + i, lanes_left(p.columns, i));
  if (!is_ignored && is_label) {
    const Vec probability = exp((Vec::broadcast(at_label) - shift) - norm);
    store_lanes(scale * (probability - Vec::broadcast(1.0f)), dlogits + label, 1);
  }
}

template <typename scalar_t>
inline void fwd_rows(const CrossEntropyFwdParams<scalar_t>& p, int64_t begin, int64_t end) {
  const DenormalsAreZero denormals_are_zero;
  for (int64_t row = begin; row < end; ++row) {
    const scalar_t* const logits = p.logits + row * p.row_stride;
    const float largest = largest_of(logits, p.n_valid);
    const float log_sum = __builtin_logf(sum_of_exponentials(logits, p.n_valid, largest));
    const int64_t label = p.labels[row];
    float loss = 0;
    if (label != p.ignore_index) {
      loss = __builtin_nanf("");
      if (label >= 0 && label < p.n_valid) loss = (largest - first_of(logits + label)) + log_sum;
    }
    p.losses[row] = loss;
    if (p.normaliser) {
      p.normaliser[2 * row] = largest;
      p.normaliser[2 * row + 1] = log_sum;
    }
    if (p.predicted) p.predicted[row] = first_equal(logits, p.n_valid, largest);
    if (p.dlogits) {
      write_gradient(p, row, largest, log_sum, static_cast<float>(p.gradient_scale), p.dlogits + row * p.row_stride);
    }
  }
}

template <typename scalar_t>
inline void bwd_rows(const CrossEntropyBwdParams<scalar_t>& p, int64_t begin, int64_t end) {
  const DenormalsAreZero denormals_are_zero;
  for (int64_t row = begin; row < end; ++row) {
    write_gradient(p, row, p.normaliser[2 * row], p.normaliser[2 * row + 1], p.dlosses[row],
                   p.dlogits + row * p.columns);
  }
}

template <typename scalar_t>
inline CrossEntropyTasks<scalar_t> entropy_tasks() {
  return {fwd_rows<scalar_t>, bwd_rows<scalar_t>};
}

}  // namespace
}  // namespace mpeft::kernels
