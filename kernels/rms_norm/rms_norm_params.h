#pragma once

#include <cstdint>

#include "kernels/common/dtypes.h"

// defines: RmsNormFwdParams, RmsNormBwdParams
//
// Fused residual addition and root mean square normalisation (Zhang and Sennrich 2019), over rows of d_model:
//   residual_out = x + residual   (fp32; residual absent: x)
//   out          = residual_out * rstd * weight,   rstd = 1 / sqrt(mean(residual_out^2) + eps)

namespace mpeft::kernels {

template <typename scalar_t>
struct RmsNormFwdParams {
  using acc_t = acc_type_t<scalar_t>;
  int64_t rows = 0, d_model = 0;
  double eps = 1e-5;
  const scalar_t* x = nullptr;      ///< (rows, d_model), contiguous
  const acc_t* residual = nullptr;  ///< (rows, d_model), optional
  const acc_t* weight = nullptr;    ///< (d_model)
  scalar_t* out = nullptr;          ///< (rows, d_model)
  acc_t* residual_out = nullptr;    ///< (rows, d_model), optional
  acc_t* rstd = nullptr;            ///< (rows), optional: kept for the backward
};

template <typename scalar_t>
struct RmsNormBwdParams {
  using acc_t = acc_type_t<scalar_t>;
  int64_t rows = 0, d_model = 0;
  const scalar_t* dout = nullptr;        ///< (rows, d_model)
  const acc_t* dresidual_out = nullptr;  ///< (rows, d_model), optional: gradient that comes through the residual
  const acc_t* residual_out = nullptr;   ///< (rows, d_model): what was normalised
  const acc_t* weight = nullptr;         ///< (d_model)
  const acc_t* rstd = nullptr;           ///< (rows)
  scalar_t* dx = nullptr;                ///< (rows, d_model), optional
  acc_t* dresidual = nullptr;            ///< (rows, d_model), optional; dx before rounding
  acc_t* dweight = nullptr;              ///< (d_model), optional
};

}  // namespace mpeft::kernels
