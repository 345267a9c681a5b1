#include "kernels/cross_entropy/reference.h"

#include <cmath>
#include <limits>

#include "kernels/common/half.h"

namespace mpeft::kernels {
namespace {

/// Writes dloss (softmax - onehot) of one row. logits and dlogits may be the same.
template <typename scalar_t, typename acc_t>
void gradient_of_row(const CrossEntropyInputs<scalar_t>& p, int64_t row, acc_t largest, acc_t log_sum, acc_t dloss,
                     scalar_t* dlogits) {
  const int64_t label = p.labels[row];
  const scalar_t* const logits = p.logits + row * p.row_stride;
  if (label == p.ignore_index) dloss = 0;
  const bool is_zero = label == p.ignore_index;
  if (!is_zero && (label < 0 || label >= p.n_valid)) dloss = std::numeric_limits<acc_t>::quiet_NaN();
  for (int64_t j = 0; j < p.columns; ++j) {
    acc_t d = 0;
    if (!is_zero && j < p.n_valid) d = dloss * (std::exp((to_acc(logits[j]) - largest) - log_sum) - acc_t(j == label));
    from_acc(d, dlogits[j]);
  }
}

}  // namespace

template <typename scalar_t>
void cross_entropy_fwd_reference(const CrossEntropyFwdParams<scalar_t>& p) {
  using acc_t = acc_type_t<scalar_t>;
  for (int64_t row = 0; row < p.rows; ++row) {
    const scalar_t* const logits = p.logits + row * p.row_stride;
    acc_t largest = to_acc(logits[0]);
    int64_t predicted = 0;
    for (int64_t j = 1; j < p.n_valid; ++j) {
      if (to_acc(logits[j]) > largest) {
        largest = to_acc(logits[j]);
        predicted = j;
      }
    }
    acc_t sum = 0;
    for (int64_t j = 0; j < p.n_valid; ++j) sum += std::exp(to_acc(logits[j]) - largest);
    const acc_t log_sum = std::log(sum);

    const int64_t label = p.labels[row];
    const bool is_label = label >= 0 && label < p.n_valid;
    const acc_t loss = is_label ? (largest - to_acc(logits[label])) + log_sum : std::numeric_limits<acc_t>::quiet_NaN();
    p.losses[row] = label == p.ignore_index ? acc_t(0) : loss;
    if (p.normaliser) {
      p.normaliser[2 * row] = largest;
      p.normaliser[2 * row + 1] = log_sum;
    }
    if (p.predicted) p.predicted[row] = predicted;
    if (p.dlogits) {
      gradient_of_row(p, row, largest, log_sum, static_cast<acc_t>(p.gradient_scale), p.dlogits + row * p.row_stride);
    }
  }
}

template <typename scalar_t>
void cross_entropy_bwd_reference(const CrossEntropyBwdParams<scalar_t>& p) {
  for (int64_t row = 0; row < p.rows; ++row) {
    gradient_of_row(p, row, p.normaliser[2 * row], p.normaliser[2 * row + 1], p.dlosses[row],
                    p.dlogits + row * p.columns);
  }
}

#define MPEFT_INSTANTIATE(scalar_t)                                                  \
  template void cross_entropy_fwd_reference(const CrossEntropyFwdParams<scalar_t>&); \
  template void cross_entropy_bwd_reference(const CrossEntropyBwdParams<scalar_t>&);
MPEFT_INSTANTIATE(double)
MPEFT_INSTANTIATE(float)
MPEFT_INSTANTIATE(BFloat16)
MPEFT_INSTANTIATE(Half)
#undef MPEFT_INSTANTIATE

}  // namespace mpeft::kernels
