#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace mpeft::eval {

/// What sampling may choose from; the rules and their order are those of Hugging Face's logits warpers.
struct TokenFilter {
  double temperature = 1.0;  ///< logits are divided by it first; > 0
  int64_t top_k = 0;         ///< then only the k largest stay (ties with the k-th stay too); 0: all
  double top_p = 1.0;        ///< then only the likeliest whose probabilities reach top_p together; 1: all
};

/// Throws ConfigError naming the first impossible value.
void validate(const TokenFilter& filter);

/// logits (rows, vocab) fp32 -> same, what may not be chosen at -inf. At least one token of a row stays.
at::Tensor filter_logits(const at::Tensor& logits, const TokenFilter& filter);

}  // namespace mpeft::eval
