#pragma once

#include <cstdint>
#include <tuple>

#include <ATen/core/Tensor.h>

namespace mpeft::ops {

/// The label of rows that carry no loss, as in PyTorch.
inline constexpr int64_t kIgnoreIndex = -100;

/// Cross entropy of each row of logits (rows, columns; fp32, bf16, fp16, on the CPU fp64) with labels (rows) int64, in
/// nats: (rows) fp32 (fp64 with fp64), 0 where the label is `ignore_index`. n_valid > 0: columns from there on do not
/// count. Differentiable in logits, which it keeps; see cross_entropy_params.h. A label that is no valid column throws
/// c10::Error on the CPU and gives NaN on a GPU.
at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& labels, int64_t ignore_index = kIgnoreIndex,
                         int64_t n_valid = 0);

/// The same without autograd, plus the column of each row's largest logit (the first of equals): (losses, predicted
/// (rows) int64).
std::tuple<at::Tensor, at::Tensor> cross_entropy_and_prediction(const at::Tensor& logits, const at::Tensor& labels,
                                                                int64_t ignore_index = kIgnoreIndex,
                                                                int64_t n_valid = 0);

/// The losses; `logits` become gradient_scale times the gradient of the losses' sum, in one read and one write. The
/// caller gives the logits up: no autograd goes through them, and logits that require a gradient are refused.
at::Tensor cross_entropy_take_gradient_(at::Tensor& logits, const at::Tensor& labels, double gradient_scale = 1.0,
                                        int64_t ignore_index = kIgnoreIndex, int64_t n_valid = 0);

}  // namespace mpeft::ops
