#pragma once

#include "mpeft/data/example.h"
#include "mpeft/model/mamba_lm.h"

namespace mpeft::train {

/// What a batch's loss is computed from, on the model's device.
struct LossInputs {
  at::Tensor ids;        ///< (rows, seqlen) int64
  at::Tensor positions;  ///< (n_labels) int64: labelled positions, counted row by row
  at::Tensor labels;     ///< (n_labels) int64: the token that is right there; data::kIgnoreLabel carries no loss
};

/// Sum of the cross entropies (nats) of the labelled positions of a batch, a 0-dim fp32 tensor on the model's device.
/// Only the labelled rows pass through the head: with few labels that is most of the memory and a good part of the time
/// of a step.
at::Tensor token_loss_sum(model::MambaLM& model, const data::Batch& batch);
at::Tensor token_loss_sum(model::MambaLM& model, const LossInputs& inputs);

/// Name of the first module whose output for this batch is not finite ("embeddings", "layer 17", "norm_f"), or "" when
/// all are.
std::string first_not_finite(model::MambaLM& model, const data::Batch& batch);

}  // namespace mpeft::train
