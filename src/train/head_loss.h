#pragma once

#include <cstdint>

#include "mpeft/model/mamba_lm.h"

namespace mpeft::train {

/// Sum of the cross entropies (nats) of model->forward_head(hidden) with labels: hidden (n, d_model) in the compute
/// dtype, labels (n) int64; a 0-dim fp32 tensor (fp64 with fp64), differentiable in hidden and in what trains in the
/// head. Never more than `rows_at_once` rows of logits exist: where a gradient follows, it is computed right away,
/// chunk by chunk, and kept for hidden and weights alone.
at::Tensor head_loss_sum(model::MambaLM& model, const at::Tensor& hidden, const at::Tensor& labels,
                         int64_t rows_at_once = 2048);

}  // namespace mpeft::train
