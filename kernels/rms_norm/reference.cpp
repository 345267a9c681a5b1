#include "kernels/rms_norm/reference.h"

#include <algorithm>
#include <cmath>

#include "kernels/common/half.h"

namespace mpeft::kernels {

template <typename scalar_t>
void rms_norm_fwd_reference(const RmsNormFwdParams<scalar_t>& p) {
  using acc_t = acc_type_t<scalar_t>;
  for (int64_t row = 0; row < p.rows; ++row) {
    const int64_t start = row * p.d_model;
    const auto value = [&](int64_t i) -> acc_t {
      return to_acc(p.x[start + i]) + (p.residual ? p.residual[start + i] : acc_t(0));
    };
    acc_t squares = 0;
    for (int64_t i = 0; i < p.d_model; ++i) squares += value(i) * value(i);
    const acc_t rstd = 1 / std::sqrt(squares / static_cast<acc_t>(p.d_model) + static_cast<acc_t>(p.eps));
    for (int64_t i = 0; i < p.d_model; ++i) {
      const acc_t r = value(i);
      from_acc(r * rstd * p.weight[i], p.out[start + i]);
      if (p.residual_out) p.residual_out[start + i] = r;
    }
    if (p.rstd) p.rstd[row] = rstd;
  }
}

// With n = r rstd and g = dout weight:  dr = rstd (g - n mean(g n)) + dresidual_out,  dweight = sum over rows of dout
// n.
template <typename scalar_t>
void rms_norm_bwd_reference(const RmsNormBwdParams<scalar_t>& p) {
  using acc_t = acc_type_t<scalar_t>;
  if (p.dweight) std::fill_n(p.dweight, p.d_model, acc_t(0));
  for (int64_t row = 0; row < p.rows; ++row) {
    const int64_t start = row * p.d_model;
    const acc_t rstd = p.rstd[row];
    acc_t projection = 0;
    for (int64_t i = 0; i < p.d_model; ++i) {
      const acc_t normalised = p.residual_out[start + i] * rstd;
      const acc_t dout = to_acc(p.dout[start + i]);
      projection += dout * p.weight[i] * normalised;
      if (p.dweight) p.dweight[i] += dout * normalised;
    }
    projection /= static_cast<acc_t>(p.d_model);
    for (int64_t i = 0; i < p.d_model; ++i) {
      const acc_t normalised = p.residual_out[start + i] * rstd;
      acc_t dr = rstd * (to_acc(p.dout[start + i]) * p.weight[i] - normalised * projection);
      if (p.dresidual_out) dr += p.dresidual_out[start + i];
      if (p.dx) from_acc(dr, p.dx[start + i]);
      if (p.dresidual) p.dresidual[start + i] = dr;
    }
  }
}

template void rms_norm_fwd_reference(const RmsNormFwdParams<double>&);
template void rms_norm_fwd_reference(const RmsNormFwdParams<float>&);
template void rms_norm_fwd_reference(const RmsNormFwdParams<BFloat16>&);
template void rms_norm_fwd_reference(const RmsNormFwdParams<Half>&);
template void rms_norm_bwd_reference(const RmsNormBwdParams<double>&);
template void rms_norm_bwd_reference(const RmsNormBwdParams<float>&);
template void rms_norm_bwd_reference(const RmsNormBwdParams<BFloat16>&);
template void rms_norm_bwd_reference(const RmsNormBwdParams<Half>&);

}  // namespace mpeft::kernels
