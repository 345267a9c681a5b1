#include "kernels/decode_step/reference.h"

#include <algorithm>
#include <cmath>

#include "kernels/common/half.h"

namespace mpeft::kernels {
namespace {

template <typename scalar_t>
acc_type_t<scalar_t> rounded(acc_type_t<scalar_t> x) {
  scalar_t stored;
  from_acc(x, stored);
  return to_acc(stored);
}

template <typename acc_t>
acc_t silu(acc_t x) {
  return x / (1 + std::exp(-x));
}

}  // namespace

template <typename scalar_t>
void decode_linear_reference(const DecodeLinearParams<scalar_t>& p) {
  using acc_t = acc_type_t<scalar_t>;
  for (int64_t row = 0; row < p.rows; ++row) {
    for (int64_t n = 0; n < p.out_features; ++n) {
      acc_t sum = 0;
      for (int64_t k = 0; k < p.in_features; ++k) {
        sum += to_acc(p.x[row * p.in_features + k]) * to_acc(p.weight[n * p.in_features + k]);
      }
      from_acc(sum, p.y[row * p.out_features + n]);
    }
  }
}

template <typename scalar_t>
void decode_conv_reference(const DecodeConvParams<scalar_t>& p) {
  using acc_t = acc_type_t<scalar_t>;
  for (int64_t row = 0; row < p.rows; ++row) {
    const int64_t from = p.parents ? p.parents[row] : row;
    for (int64_t c = 0; c < p.d_inner; ++c) {
      const scalar_t x = p.x[row * p.x_row_stride + c];
      acc_t sum = p.bias ? p.bias[c] : acc_t(0);
      for (int64_t tap = 0; tap < p.width; ++tap) {
        const scalar_t in = tap + 1 < p.width ? p.state[(from * (p.width - 1) + tap) * p.d_inner + c] : x;
        // the oldest input leaves the window
        if (tap > 0) p.state_out[(row * (p.width - 1) + tap - 1) * p.d_inner + c] = in;
        sum += p.weight[c * p.width + tap] * to_acc(in);
      }
      from_acc(silu(sum), p.u[row * p.d_inner + c]);
    }
  }
}

template <typename scalar_t>
void decode_scan_reference(const DecodeScanParams<scalar_t>& p) {
  using acc_t = acc_type_t<scalar_t>;
  for (int64_t row = 0; row < p.rows; ++row) {
    const int64_t from = p.parents ? p.parents[row] : row;
    const scalar_t* const dt = p.x_dbl + row * (p.dt_rank + 2 * p.d_state);
    const scalar_t *const B = dt + p.dt_rank, *const C = B + p.d_state;
    for (int64_t c = 0; c < p.d_inner; ++c) {
      acc_t delta = 0;
      if (p.dt_weight) {
        for (int64_t j = 0; j < p.dt_rank; ++j) delta += to_acc(dt[j]) * to_acc(p.dt_weight[c * p.dt_rank + j]);
        delta = rounded<scalar_t>(delta);
      } else {
        delta = to_acc(p.delta[row * p.d_inner + c]);
      }
      delta += p.dt_bias[c];
      delta = std::max(delta, acc_t(0)) + std::log1p(std::exp(-std::abs(delta)));
      const acc_t u = to_acc(p.u[row * p.d_inner + c]);
      acc_t y = p.D[c] * u;
      for (int64_t n = 0; n < p.d_state; ++n) {
        acc_t h = p.state[(from * p.d_inner + c) * p.d_state + n];
        h = std::exp(delta * p.A[c * p.d_state + n]) * h + delta * u * to_acc(B[n]);
        p.state_out[(row * p.d_inner + c) * p.d_state + n] = h;
        y += to_acc(C[n]) * h;
      }
      from_acc(y * silu(to_acc(p.z[row * p.z_row_stride + c])), p.y[row * p.d_inner + c]);
    }
  }
}

#define MPEFT_INSTANTIATE(scalar_t)                                           \
  template void decode_linear_reference(const DecodeLinearParams<scalar_t>&); \
  template void decode_conv_reference(const DecodeConvParams<scalar_t>&);     \
  template void decode_scan_reference(const DecodeScanParams<scalar_t>&);
MPEFT_INSTANTIATE(double)
MPEFT_INSTANTIATE(float)
MPEFT_INSTANTIATE(BFloat16)
MPEFT_INSTANTIATE(Half)
#undef MPEFT_INSTANTIATE

}  // namespace mpeft::kernels
