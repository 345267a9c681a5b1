#include "kernels/causal_conv1d/reference.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/common/half.h"

namespace mpeft::kernels {
namespace {

// From here on sequences start at the row's step 0 (move_to_row).

/// x at step t >= -(width - 1) of a row: before the first step, the initial state or 0.
template <typename scalar_t>
acc_type_t<scalar_t> input_at(const CausalConv1dInputs<scalar_t>& p, int64_t row, int64_t t, int64_t d) {
  if (t >= 0) return to_acc(p.x.data[t * p.x.time_stride + d]);
  if (p.initial_state == nullptr) return 0;
  return to_acc(p.initial_state[row * p.initial_state_batch_stride + (t + p.width - 1) * p.d_inner + d]);
}

/// The convolution before its activation.
template <typename scalar_t>
acc_type_t<scalar_t> convolve(const CausalConv1dInputs<scalar_t>& p, int64_t row, int64_t t, int64_t d) {
  auto sum = p.bias ? p.bias[d] : acc_type_t<scalar_t>(0);
  for (int64_t k = 0; k < p.width; ++k) {
    sum += p.weight[d * p.width + k] * input_at(p, row, t - (p.width - 1) + k, d);
  }
  return sum;
}

}  // namespace

template <typename scalar_t>
void causal_conv1d_fwd_reference(const CausalConv1dFwdParams<scalar_t>& params) {
  using acc_t = acc_type_t<scalar_t>;
  for (int64_t row = 0; row < params.batch; ++row) {
    const RowSpan span = row_span(params, row);
    const int64_t length = span.length;
    CausalConv1dFwdParams<scalar_t> p = params;
    move_to_row(p, row, span);
    for (int64_t d = 0; d < p.d_inner; ++d) {
      for (int64_t t = 0; t < span.stored; ++t) {
        acc_t out = t < length ? convolve(p, row, t, d) : acc_t(0);
        if (p.silu) out /= 1 + std::exp(-out);
        from_acc(out, p.out[t * p.d_inner + d]);
      }
      for (int64_t j = 0; p.last_state != nullptr && j < p.width - 1; ++j) {
        from_acc(input_at(p, row, length - (p.width - 1) + j, d),
                 p.last_state[(row * (p.width - 1) + j) * p.d_inner + d]);
      }
    }
  }
}

template <typename scalar_t>
void causal_conv1d_bwd_reference(const CausalConv1dBwdParams<scalar_t>& params) {
  using acc_t = acc_type_t<scalar_t>;
  const int64_t history = params.width - 1;
  if (params.dweight) std::fill_n(params.dweight, params.d_inner * params.width, acc_t(0));
  if (params.dbias) std::fill_n(params.dbias, params.d_inner, acc_t(0));
  for (int64_t row = 0; row < params.batch; ++row) {
    const RowSpan span = row_span(params, row);
    const int64_t length = span.length;
    CausalConv1dBwdParams<scalar_t> p = params;
    move_to_row(p, row, span);
    for (int64_t d = 0; d < p.d_inner; ++d) {
      std::vector<acc_t> dx(static_cast<size_t>(history + span.stored), acc_t(0));  // from step -(width - 1)
      for (int64_t t = 0; t < length; ++t) {
        acc_t dp = to_acc(p.dout.data[t * p.dout.time_stride + d]);
        if (p.silu) {
          const acc_t pre = convolve(p, row, t, d);
          const acc_t s = 1 / (1 + std::exp(-pre));
          dp *= s * (1 + pre * (1 - s));
        }
        for (int64_t k = 0; k < p.width; ++k) {
          dx[t + k] += p.weight[d * p.width + k] * dp;
          if (p.dweight) p.dweight[d * p.width + k] += dp * input_at(p, row, t - history + k, d);
        }
        if (p.dbias) p.dbias[d] += dp;
      }
      for (int64_t j = 0; p.dinitial_state != nullptr && j < history; ++j) {
        p.dinitial_state[(row * history + j) * p.d_inner + d] = dx[j];
      }
      for (int64_t t = 0; p.dx.data != nullptr && t < span.stored; ++t) {
        from_acc(dx[history + t], p.dx.data[t * p.dx.time_stride + d]);
      }
    }
  }
}

template void causal_conv1d_fwd_reference(const CausalConv1dFwdParams<double>&);
template void causal_conv1d_fwd_reference(const CausalConv1dFwdParams<float>&);
template void causal_conv1d_fwd_reference(const CausalConv1dFwdParams<BFloat16>&);
template void causal_conv1d_fwd_reference(const CausalConv1dFwdParams<Half>&);
template void causal_conv1d_bwd_reference(const CausalConv1dBwdParams<double>&);
template void causal_conv1d_bwd_reference(const CausalConv1dBwdParams<float>&);
template void causal_conv1d_bwd_reference(const CausalConv1dBwdParams<BFloat16>&);
template void causal_conv1d_bwd_reference(const CausalConv1dBwdParams<Half>&);

}  // namespace mpeft::kernels
