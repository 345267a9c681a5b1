#pragma once

#include <cstdint>

#include "kernels/common/cuda_vector.cuh"
#include "kernels/rms_norm/rms_norm_params.h"

// defines: HeldRow, load_weight, RowTail, sums_over_rows

namespace mpeft::kernels {

/// What a thread holds of a row: kVectors vectors of every input as they lie in memory, vector v at column
/// (threadIdx + v blockDim) kVec. Zeros until loaded and beyond the row, so that they add nothing to a sum.
template <typename scalar_t, int kVec, int kVectors>
struct HeldRow {
  RawVector<scalar_t, kVec> dout[kVectors];
  RawVector<float, kVec> residual_out[kVectors], through[kVectors];
  float rstd_in_lane_0 = 0.f;  ///< loaded by one lane: see load

  static __device__ __forceinline__ uint32_t column(int v) { return (threadIdx.x + v * blockDim.x) * kVec; }
  /// Does not wait for anything. If all lanes loaded rstd, the compiler would move it to a uniform register at once,
  /// and the other loads would be issued a memory latency later, row after row.
  __device__ __forceinline__ void load(const RmsNormBwdParams<scalar_t>& p, int64_t row) {
    const int64_t start = row * p.d_model;
    if (threadIdx.x % 32 == 0) rstd_in_lane_0 = p.rstd[row];
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      if (column(v) < p.d_model) {
        dout[v].load(p.dout + start + column(v));
        residual_out[v].load(p.residual_out + start + column(v));
        if (p.dresidual_out != nullptr) through[v].load(p.dresidual_out + start + column(v));
      }
    }
  }
  __device__ __forceinline__ float rstd() const { return __shfl_sync(0xffffffffu, rstd_in_lane_0, 0); }

  /// The sum of weight dout xhat over what the thread holds.
  __device__ __forceinline__ float product(const float (&weight)[kVectors][kVec], float rstd) const {
    float sum = 0.f;
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      float d[kVec], x[kVec];
      dout[v].widen(d);
      residual_out[v].widen(x);
#pragma unroll
      for (int i = 0; i < kVec; ++i) sum = fmaf(d[i] * weight[v][i], x[i] * rstd, sum);
    }
    return sum;
  }
  /// Stores the gradients of row `row`, mean: of weight dout xhat over it; `stored` false: none. Calls
  /// add_dweight(v, i, dout, xhat) for every element.
  template <typename F>
  __device__ __forceinline__ void store(const RmsNormBwdParams<scalar_t>& p, int64_t row, bool stored,
                                        const float (&weight)[kVectors][kVec], float rstd, float mean,
                                        F&& add_dweight) const {
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      float d[kVec], xhat[kVec], gradient[kVec];
      dout[v].widen(d);
      residual_out[v].widen(xhat);
      through[v].widen(gradient);
#pragma unroll
      for (int i = 0; i < kVec; ++i) {
        xhat[i] *= rstd;
        add_dweight(v, i, d[i], xhat[i]);
        gradient[i] = fmaf(rstd, fmaf(-xhat[i], mean, d[i] * weight[v][i]), gradient[i]);
      }
      if (!stored || column(v) >= p.d_model) continue;
      const int64_t at = row * p.d_model + column(v);
      if (p.dresidual != nullptr) store_floats(p.dresidual + at, gradient);
      if (p.dx != nullptr) store_floats(p.dx + at, gradient);
    }
  }
};

/// The weights of a thread's columns, 0 beyond the row.
template <typename Row, typename scalar_t, int kVec, int kVectors>
__device__ __forceinline__ void load_weight(float (&weight)[kVectors][kVec], const RmsNormBwdParams<scalar_t>& p) {
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
#pragma unroll
    for (int i = 0; i < kVec; ++i) weight[v][i] = 0.f;
    if (Row::column(v) < p.d_model) load_floats(weight[v], p.weight + Row::column(v));
  }
}

/// The part of a row beyond what a block holds, read where it is needed; its sums of dweight lie in memory.
template <typename scalar_t, int kVec>
struct RowTail {
  const RmsNormBwdParams<scalar_t>& p;
  int64_t start, first_column;  ///< of the row in memory; of this thread in the row
  float rstd;

  template <typename F>
  __device__ __forceinline__ void for_each_vector(F&& f) const {
    for (int64_t column = first_column; column < p.d_model; column += static_cast<int64_t>(blockDim.x) * kVec) {
      float dout[kVec], xhat[kVec], weight[kVec];
      load_floats(dout, p.dout + start + column);
      load_floats(xhat, p.residual_out + start + column);
      load_floats(weight, p.weight + column);
#pragma unroll
      for (int i = 0; i < kVec; ++i) xhat[i] *= rstd;
      f(column, dout, xhat, weight);
    }
  }
  __device__ __forceinline__ float sum() const {
    float sum = 0.f;
    for_each_vector([&](int64_t, const auto& dout, const auto& xhat, const auto& weight) {
#pragma unroll
      for (int i = 0; i < kVec; ++i) sum = fmaf(dout[i] * weight[i], xhat[i], sum);
    });
    return sum;
  }
  /// partial: the block's sums of dweight, null: not wanted; `first` row of the block: they are not there yet.
  __device__ __forceinline__ void store(float mean, float* partial, bool first) const {
    for_each_vector([&](int64_t column, const auto& dout, const auto& xhat, const auto& weight) {
      float gradient[kVec] = {}, dweight[kVec] = {};
      if (p.dresidual_out != nullptr) load_floats(gradient, p.dresidual_out + start + column);
      if (!first && partial != nullptr) load_floats(dweight, partial + column);
#pragma unroll
      for (int i = 0; i < kVec; ++i) {
        gradient[i] = fmaf(rstd, fmaf(-xhat[i], mean, dout[i] * weight[i]), gradient[i]);
        dweight[i] = fmaf(dout[i], xhat[i], dweight[i]);
      }
      if (p.dresidual != nullptr) store_floats(p.dresidual + start + column, gradient);
      if (p.dx != nullptr) store_floats(p.dx + start + column, gradient);
      if (partial != nullptr) store_floats(partial + column, dweight);
    });
  }
};

/// Sums of x[row] over the threads of a block, in every one of them; the order is fixed. Calls take turns with the two
/// halves of `shared` by `turn`: a warp writes to one again only after a barrier that the readers of the last time have
/// passed.
template <int kRows>
__device__ __forceinline__ void sums_over_rows(float (&x)[kRows], float (&shared)[2][kRows][32], int turn) {
  const int lane = threadIdx.x % 32, warps = blockDim.x / 32;
  auto sum_over_warp = [](float& sum) {
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, offset);
  };
#pragma unroll
  for (int r = 0; r < kRows; ++r) sum_over_warp(x[r]);
  if (warps == 1) return;
  if (lane == 0) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) shared[turn][r][threadIdx.x / 32] = x[r];
  }
  __syncthreads();
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    x[r] = lane < warps ? shared[turn][r][lane] : 0.f;
    sum_over_warp(x[r]);
  }
}

}  // namespace mpeft::kernels
