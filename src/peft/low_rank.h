#pragma once

#include <ATen/core/Tensor.h>

namespace mpeft::peft {

/// y[..., row_begin : row_begin + rows] += scale * dropout(x) A^T B^T, in place, differentiable in y, x, A and B;
/// nothing is computed for inputs that need no gradient. x (..., in_features), y (..., out_features) contiguous, A
/// (rank, in_features), B (rows, rank), all of one dtype. `dropout` is the probability of zeroing an element of x;
/// survivors are divided by 1 - dropout. The random numbers are the device's default generator's.
at::Tensor add_low_rank(at::Tensor y, const at::Tensor& x, const at::Tensor& A, const at::Tensor& B, double scale,
                        int64_t row_begin, double dropout);

}  // namespace mpeft::peft
