#pragma once

#include <ATen/core/Tensor.h>

namespace mpeft::model {

/// y = x [weight; rows]^T as one GEMM: (..., weight rows + extra rows). Differentiable in x and `rows`; `weight` is
/// frozen, and nothing is computed for it. x (..., in_features), weight (out_features, in_features), rows
/// (n, in_features), all of one dtype.
at::Tensor linear_with_rows(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& rows);

}  // namespace mpeft::model
