#pragma once

#include <optional>
#include <vector>

#include "mpeft/model/mamba_lm.h"

namespace mpeft::model {

/// One token at a time through all layers, for texts that are continued together. The model stays as it is while this
/// lives: no parameter changes, none trains, no adapter comes or goes. fp32, bf16 or fp16.
class TokenStepper {
 public:
  explicit TokenStepper(MambaLM model);

  /// Room for the states of `rows` texts, zeros.
  InferenceCache make_states(int64_t rows) const;

  /// tokens (rows) int64 -> hidden states after norm_f (rows, d_model). Text i continues row parents[i] of `from` (no
  /// parents: row i); its states go to row i of `to`, which has memory of its own.
  at::Tensor step(const at::Tensor& tokens, const std::optional<at::Tensor>& parents, const InferenceCache& from,
                  InferenceCache& to);

 private:
  MambaLM model_;
  std::vector<at::Tensor> A_;  ///< of each layer: the same for every token
};

}  // namespace mpeft::model
