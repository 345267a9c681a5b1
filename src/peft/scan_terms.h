#pragma once

#include <optional>

#include <ATen/core/Tensor.h>

namespace mpeft::peft {

/// Adds `more` to a term of the scan that other adapters may have set.
void add_term(std::optional<at::Tensor>& term, const at::Tensor& more);

/// After (scale, bias) of a sequence (B or C), x' = scale x + bias, scales and shifts x' once more. Undefined tensors
/// change nothing.
void scale_and_shift(std::optional<at::Tensor>& scale, std::optional<at::Tensor>& bias, const at::Tensor& by,
                     const at::Tensor& shift);

}  // namespace mpeft::peft
