#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

namespace mpeft::peft {

/// (..., n) -> (rows, n): a view where `t` is contiguous.
inline at::Tensor as_rows(const at::Tensor& t) { return t.reshape({-1, t.size(-1)}); }

/// A low-rank pair on some rows of a projection: A (rank, in_features), B (rows, rank), in the dtype that they train
/// in.
struct LowRankPair {
  at::Tensor A, B;
  double scale = 1.0;
  int64_t row_begin = 0;
};

/// y[..., row_begin : row_begin + rows] += scale dropout(x) A^T B^T for each of the pairs, in place, differentiable in
/// y, x, A and B; nothing is computed for inputs of which none needs a gradient (all
/// A together, all B together). x (..., in_features), y (..., out_features)
/// contiguous, of one dtype, in which the products are computed; gradients of A and B are in theirs. `dropout` is the
/// probability of zeroing an element of x, the same ones for all pairs; survivors are divided by 1 - dropout. The
/// random numbers are the device's default generator's.
at::Tensor add_low_rank(at::Tensor y, const at::Tensor& x, const std::vector<LowRankPair>& pairs, double dropout);

/// DoRA's change under dropout, as PEFT has it: y[..., row_begin : row_begin + rows] += (factor - 1) W d + factor scale
/// B A d with d = dropout(x), in place. W (rows, in_features), the base's rows, in x's dtype; factor (rows) fp32 (fp64
/// with fp64): the magnitude over the norm of the adapted row. Differentiable in y, x, W, A, B and factor; the rest is
/// as in add_low_rank, dropout > 0.
at::Tensor add_dora(at::Tensor y, const at::Tensor& x, const at::Tensor& W, const at::Tensor& A, const at::Tensor& B,
                    const at::Tensor& factor, double scale, int64_t row_begin, double dropout);

}  // namespace mpeft::peft
