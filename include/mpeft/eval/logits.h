#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "mpeft/model/mamba_lm.h"
#include "mpeft/text/tokenizer.h"

namespace mpeft::eval {

/// Logits of each list of ids, on the CPU: (its length, vocab_size) fp32. `batch_size` lists are computed together,
/// right-padded; the lists keep their order. Dropout is off. Throws DataError for an empty list or an id outside the
/// vocabulary, naming the list.
std::vector<at::Tensor> compute_logits(model::MambaLM& model, const std::vector<std::vector<text::TokenId>>& lists,
                                       int64_t batch_size = 1);

}  // namespace mpeft::eval
