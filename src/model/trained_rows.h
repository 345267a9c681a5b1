#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

#include "mpeft/model/projection.h"

namespace mpeft::model {

/// x W^T where W is `weight` with the rows of `slices` replaced by `rows`: one GEMM. Differentiable in x and `rows`;
/// nothing is computed for the gradient of the other rows. x (..., in_features), weight (out_features, in_features),
/// rows (sum of the slices' rows, in_features) in the order of `slices`, which are sorted and do not overlap; all of
/// one dtype.
at::Tensor linear_with_trained_rows(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& rows,
                                    const std::vector<RowSlice>& slices);

/// `weight` with the rows of `slices` replaced by `rows`, in a new tensor.
at::Tensor replace_rows(const at::Tensor& weight, const at::Tensor& rows, const std::vector<RowSlice>& slices);

}  // namespace mpeft::model
