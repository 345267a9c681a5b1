#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/common/vec_math.h"
#include "kernels/rms_norm/cpu_tasks.h"

// defines: norm_tasks (include a kernels/common/vec_*.h first)
//
// The lanes of a Vec are neighbouring channels of one row; a row is read twice, the second time from the cache.

namespace mpeft::kernels {
namespace {

constexpr int64_t kLanes = Vec::kLanes;

/// Calls body(i, lanes) for each group of a row's channels.
template <typename Body>
inline void for_each_group(int64_t d_model, const Body& body) {
  const int64_t whole = d_model / kLanes * kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) body(i, kLanes);
  if (whole < d_model) body(whole, d_model - whole);
}

inline int64_t last_row(int64_t block, int64_t rows) {
  return (block + 1) * kNormRows < rows ? (block + 1) * kNormRows : rows;
}

template <typename scalar_t>
inline void fwd_task(const RmsNormFwdParams<scalar_t>& p, int64_t block) {
  const DenormalsAreZero denormals_are_zero;
  for (int64_t row = block * kNormRows; row < last_row(block, p.rows); ++row) {
    const scalar_t* const x = p.x + row * p.d_model;
    const float* const residual = p.residual ? p.residual + row * p.d_model : nullptr;
    const auto value = [=](int64_t i, int64_t lanes) {
      const Vec in = load_lanes(x + i, lanes);
      return residual ? in + load_lanes(residual + i, lanes) : in;
    };
    Vec squares = Vec::zero();
    for_each_group(p.d_model, [&](int64_t i, int64_t lanes) {
      const Vec r = value(i, lanes);
      squares = fma(r, r, squares);
      if (p.residual_out) store_lanes(r, p.residual_out + row * p.d_model + i, lanes);
    });
    const float mean = squares.sum() / static_cast<float>(p.d_model);
    const float rstd = 1.0f / std::sqrt(mean + static_cast<float>(p.eps));
    const Vec scale = Vec::broadcast(rstd);
    for_each_group(p.d_model, [&](int64_t i, int64_t lanes) {
      store_lanes(value(i, lanes) * scale * load_lanes(p.weight + i, lanes), p.out + row * p.d_model + i, lanes);
    });
    if (p.rstd) p.rstd[row] = rstd;
  }
}

template <typename scalar_t>
inline void bwd_task(const RmsNormBwdParams<scalar_t>& p, int64_t block, float* dweight_partials) {
  const DenormalsAreZero denormals_are_zero;
  float* const dweight = dweight_partials ? dweight_partials + block * p.d_model : nullptr;
  if (dweight) std::memset(dweight, 0, static_cast<size_t>(p.d_model) * sizeof(float));
  for (int64_t row = block * kNormRows; row < last_row(block, p.rows); ++row) {
    const int64_t start = row * p.d_model;
    const Vec rstd = Vec::broadcast(p.rstd[row]);
    Vec projection = Vec::zero();
    for_each_group(p.d_model, [&](int64_t i, int64_t lanes) {
      const Vec dout = load_lanes(p.dout + start + i, lanes);
      const Vec weighted = dout * (load_lanes(p.residual_out + start + i, lanes) * rstd);
      projection = fma(weighted, load_lanes(p.weight + i, lanes), projection);
      if (dweight) store_lanes(load_lanes(dweight + i, lanes) + weighted, dweight + i, lanes);
    });
    if (p.dx == nullptr && p.dresidual == nullptr) continue;
    const Vec mean = Vec::broadcast(projection.sum() / static_cast<float>(p.d_model));
    for_each_group(p.d_model, [&](int64_t i, int64_t lanes) {
      const Vec g = load_lanes(p.dout + start + i, lanes) * load_lanes(p.weight + i, lanes);
      const Vec normalised = load_lanes(p.residual_out + start + i, lanes) * rstd;
      Vec dr = rstd * fnma(normalised, mean, g);
      if (p.dresidual_out) dr = dr + load_lanes(p.dresidual_out + start + i, lanes);
      if (p.dx) store_lanes(dr, p.dx + start + i, lanes);
      if (p.dresidual) store_lanes(dr, p.dresidual + start + i, lanes);
    });
  }
}

template <typename scalar_t>
inline RmsNormTasks<scalar_t> norm_tasks() {
  return {fwd_task<scalar_t>, bwd_task<scalar_t>};
}

}  // namespace
}  // namespace mpeft::kernels
