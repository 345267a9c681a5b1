#pragma once

// Eight steps of the forward on the matrix unit (fwd_matrix_kernel.cuh).
#include <cstdint>

#include "kernels/selective_scan/fwd_matrix_tile.cuh"
#include "kernels/selective_scan/scan_math.cuh"

// defines: fwd_matrix::Group, fwd_matrix::decays, fwd_matrix::Results

namespace mpeft::kernels::fwd_matrix {

/// log2(1 + 2^x) without branches, which would keep the compiler from running other steps' work beside it.
__device__ __forceinline__ float softplus_log2(float x) {
  const float e = exp2_approx(fminf(x, 100.f));
  const float value = fmaxf(log2_approx(1.f + e), x);
  return e < 1e-3f ? e * fmaf(-0.5f * kLog2e, e, kLog2e) : value;  // scan_math.cuh, softplus_delta
}

/// The matrix unit cuts an operand to 11 bits, which makes it smaller by 0.36 * 2^-10 on average.
inline constexpr float kCutLoss = 3.5e-4f;

/// What lane (g, t) holds of 8 steps: of channels 2 g and 2 g + 1, steps 2 t and 2 t + 1.
struct Group {
  uint32_t x[2][2];  // [step][channel]: delta u as the sum of two bfloat16
  uint32_t B[2][2];  // [step][even, odd state 2 g, 2 g + 1], twice in a word
  float C[4];        // of step g: states 4 t .. 4 t + 3
  float u[2][2];

  /// left: steps from the group's first to the row's end; behind it delta is 0. deltas: of this lane, [step][channel],
  /// in units of ln 2.
  template <typename Shape>
  __device__ __forceinline__ void prepare(const TilePlaces<Shape>& tile, float* deltas, const float (&bias)[2],
                                          int left, int t) {
    float delta[2][2];
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      tile.u(u[j], j);
      tile.delta(delta[j], j);
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        const float value = softplus_log2(fmaf(delta[j][c], kLog2e, bias[c]));
        delta[j][c] = 2 * t + j < left ? value : 0.f;
        const float delta_u = delta[j][c] * (u[j][c] * kLn2);
        const float high = __uint_as_float(__float_as_uint(delta_u) & 0xffff0000u);
        x[j][c] = kernels::detail::two_of(__nv_bfloat16{}, high, delta_u - high);
      }
      const uint32_t pair = tile.B(j);
      B[j][0] = __byte_perm(pair, 0, 0x1010);
      B[j][1] = __byte_perm(pair, 0, 0x3232);
    }
    *reinterpret_cast<float4*>(deltas) = make_float4(delta[0][0], delta[0][1], delta[1][0], delta[1][1]);
    tile.C(C);
  }

  /// delta u B of step s, [channel][state 4 t + i]. Rows of the product are channels, columns 8 states, and the sum is
  /// over the parts of delta u at steps of s's parity: all but step s meet a 0.
  __device__ __forceinline__ void outer_product(float (&xB)[2][4], int s, int t) const {
#pragma unroll
    for (int odd = 0; odd < 2; ++odd) {
      asm("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%7,%7,%7,%7};"
          : "=f"(xB[0][odd]), "=f"(xB[0][2 + odd]), "=f"(xB[1][odd]), "=f"(xB[1][2 + odd])
          : "r"(x[s % 2][0]), "r"(x[s % 2][1]), "r"(t == s / 2 ? B[s % 2][odd] : 0u), "f"(0.f));
    }
  }

  /// C . h of step s: rows are channels, columns all 8 steps, of which the lanes with t = s / 2 take the one that
  /// counts. kAdd: to what y holds, else instead of it.
  template <bool kAdd>
  __device__ __forceinline__ void output(float (&y)[2][2], const float (&h)[2][4], int s, int t) const {
    float sum[4] = {};
    kernels::detail::mma_tf32(sum, {h[0][0], h[1][0], h[0][1], h[1][1]}, C[0], C[1]);
    kernels::detail::mma_tf32(sum, {h[0][2], h[1][2], h[0][3], h[1][3]}, C[2], C[3]);
    if ((!kAdd && s < 2) || t == s / 2) {  // without kAdd the first two steps fill the others' registers
#pragma unroll
      for (int c = 0; c < 2; ++c) y[s % 2][c] = kAdd ? y[s % 2][c] + sum[2 * c + s % 2] : sum[2 * c + s % 2];
    }
  }
};

/// a = exp(delta A) of step s; delta in units of ln 2.
template <int kPolynomials>
__device__ __forceinline__ void decays(float (&a)[2][4], const float (&A)[2][4], const float* delta, int s) {
#pragma unroll
  for (int c = 0; c < 2; ++c) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const bool polynomial = ((s * 2 + c) * 4 + i) * kPolynomials % 16 < kPolynomials;
      a[c][i] = polynomial ? exp2_polynomial(delta[c] * A[c][i]) : exp2_approx(delta[c] * A[c][i]);
    }
  }
}

/// Where a lane's results go: addresses in global memory of its first two steps, which it moves on. Stores are
/// predicated and not branched around, for softplus_log2's reason.
class Results {
 public:
  /// first_step: of this lane, 2 t included.
  __device__ __forceinline__ Results(const SelectiveScanFwdParams<__nv_bfloat16>& p, int64_t row, const RowSpan& span,
                                     int64_t channel, int first_step, int t)
      : stride_(static_cast<int>(p.d_inner) * 2), with_y_(p.y != nullptr) {
    const int64_t at = (span.first + first_step) * p.d_inner + channel;
    out_ = __cvta_generic_to_global(p.out + at);
    y_ = __cvta_generic_to_global(p.y + at);
    const bool keeps = p.checkpoints != nullptr && channel < p.d_inner;
    keep_mask_ = keeps ? static_cast<int>(p.checkpoint_every) - 1 : 0;
    keep_match_ = keeps ? 0 : 1;  // which no step matches
    kept_stride_ = static_cast<uint32_t>(p.d_inner) * 64;
    kept_ =
        __cvta_generic_to_global(p.checkpoints + (first_checkpoint(p, row, span) * p.d_inner + channel) * 16 + 4 * t);
  }

  /// out = y silu(z) of two steps. left: steps from the group's first to the row's end, or to 0 for a channel that does
  /// not exist.
  template <typename Shape>
  __device__ __forceinline__ void store(const TilePlaces<Shape>& tile, const Group& group, const float (&y)[2][2],
                                        const float (&D)[2], int left, int t) const {
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      float z[2], whole[2], out[2];
      tile.z(z, j);
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        whole[c] = fmaf(D[c], group.u[j][c], fmaf(y[j][c], kCutLoss, y[j][c]));
        out[c] = whole[c] * silu<__nv_bfloat16>(z[c]).value;
      }
      const bool exists = 2 * t + j < left;
      store_pair(exists, out_ + static_cast<int64_t>(j * stride_), out);
      store_pair(exists && with_y_, y_ + static_cast<int64_t>(j * stride_), whole);
    }
  }
  __device__ __forceinline__ void advance(int steps) {
    out_ += static_cast<int64_t>(steps) * stride_;
    y_ += static_cast<int64_t>(steps) * stride_;
  }
  /// The state before step `first` < length, a multiple of 8, if it is one to keep.
  __device__ __forceinline__ void keep(const float (&h)[2][4], int first) const {
    const bool keep = (first & keep_mask_) == keep_match_;
    const uint32_t index = static_cast<uint32_t>(first) >> (keep_mask_ == 31 ? 5 : 3);
    const uint64_t at = kept_ + static_cast<uint64_t>(index) * kept_stride_;
#pragma unroll
    for (int c = 0; c < 2; ++c) store_state(keep, at + c * 64, h[c]);
  }

 private:
  __device__ __forceinline__ static void store_pair(bool wanted, uint64_t at, const float (&x)[2]) {
    asm volatile("{.reg .pred p; setp.ne.s32 p, %0, 0; @p st.global.b32 [%1], %2;}" ::"r"(static_cast<int>(wanted)),
                 "l"(at), "r"(kernels::detail::two_of(__nv_bfloat16{}, x[0], x[1])));
  }
  __device__ __forceinline__ static void store_state(bool wanted, uint64_t at, const float (&x)[4]) {
    asm volatile("{.reg .pred p; setp.ne.s32 p, %0, 0; @p st.global.v4.f32 [%1], {%2,%3,%4,%5};}" ::"r"(
                     static_cast<int>(wanted)),
                 "l"(at), "f"(x[0]), "f"(x[1]), "f"(x[2]), "f"(x[3]));
  }

  uint64_t out_, y_, kept_;
  int stride_;            // bytes from step to step
  uint32_t kept_stride_;  // bytes from kept state to kept state
  int keep_mask_, keep_match_;
  bool with_y_;
};

}  // namespace mpeft::kernels::fwd_matrix
