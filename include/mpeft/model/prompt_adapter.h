#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

namespace mpeft::model {

/// Virtual tokens that a PEFT method puts before every text. They do not depend on the text: the model reads them once
/// for the whole batch and hands the state that they leave in each layer on to every row, which is exactly what reading
/// them in each row would give. Their own outputs are nobody's.
class PromptAdapter {
 public:
  virtual ~PromptAdapter() = default;
  /// The embeddings of the virtual tokens: (n_tokens, d_model), in `dtype`.
  virtual at::Tensor virtual_tokens(at::ScalarType dtype) = 0;
};

}  // namespace mpeft::model
