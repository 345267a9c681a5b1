#pragma once

#include <cstdint>

#include "kernels/common/dtypes.h"

// defines: CrossEntropyFwdParams, CrossEntropyBwdParams
//
// Cross entropy of rows of logits with one label each:
//   largest = max over j < n_valid of logits_j,   log_sum = log(sum over j < n_valid of exp(logits_j - largest))
//   loss      = (largest - logits_label) + log_sum
//   dlogits_j = dloss (exp((logits_j - largest) - log_sum) - [j = label])   for j < n_valid, else 0
// The two parts of the log-sum-exp stay apart: their sum, rounded, would be off by 1e-7 times the logits' size.
// A row whose label is ignore_index has loss 0 and gradient 0. Any other label outside [0, n_valid) gives NaN in both:
// the device cannot refuse it.

namespace mpeft::kernels {

template <typename scalar_t>
struct CrossEntropyInputs {
  int64_t rows = 0, columns = 0;
  int64_t n_valid = 0;  ///< columns that count, from the first on; at least 1, at most `columns`
  int64_t ignore_index = -100;
  const scalar_t* logits = nullptr;  ///< (rows, columns), contiguous rows
  int64_t row_stride = 0;            ///< elements between rows of logits
  const int64_t* labels = nullptr;   ///< (rows)
};

template <typename scalar_t>
struct CrossEntropyFwdParams : CrossEntropyInputs<scalar_t> {
  using acc_t = acc_type_t<scalar_t>;
  acc_t* losses = nullptr;       ///< (rows)
  acc_t* normaliser = nullptr;   ///< (rows, 2), optional: largest and log_sum, kept for the backward
  int64_t* predicted = nullptr;  ///< (rows), optional: column of the largest logit, the first of equals
  scalar_t* dlogits =
      nullptr;  ///< as logits (which it may be), optional: gradient_scale times the gradient of the loss
  double gradient_scale = 1;
};

template <typename scalar_t>
struct CrossEntropyBwdParams : CrossEntropyInputs<scalar_t> {
  using acc_t = acc_type_t<scalar_t>;
  const acc_t* normaliser = nullptr;  ///< (rows, 2): largest and log_sum
  const acc_t* dlosses = nullptr;     ///< (rows)
  scalar_t* dlogits = nullptr;        ///< (rows, columns), contiguous
};

}  // namespace mpeft::kernels
