#include "mpeft/train/loss.h"

#include <ATen/ops/index_select.h>
#include <ATen/ops/isfinite.h>

#include "mpeft/core/strings.h"

#include "train/head_loss.h"
#include "train/packed_batch.h"

namespace mpeft::train {

at::Tensor token_loss_sum(model::MambaLM& model, const LossInputs& inputs) {
  const at::Tensor hidden = model->forward_hidden(inputs.ids);                              // (rows, seqlen, d_model)
  const at::Tensor labelled = at::index_select(hidden.flatten(0, 1), 0, inputs.positions);  // (n_labels, d_model)
  return head_loss_sum(model, labelled, inputs.labels);
}

at::Tensor token_loss_sum(model::MambaLM& model, const data::Batch& batch) {
  const BatchShape shape = shape_of(batch);
  const at::Device device = model->device();
  return token_loss_sum(model, unpack(pack(batch, shape, device.is_cuda()).to(device, /*non_blocking=*/true), shape));
}

std::string first_not_finite(model::MambaLM& model, const data::Batch& batch) {
  const torch::NoGradGuard no_grad;
  const auto finite = [](const at::Tensor& t) { return at::isfinite(t).all().item<bool>(); };
  const BatchShape shape = shape_of(batch);
  const at::Tensor ids = unpack(pack(batch, shape, /*pinned=*/false).to(model->device()), shape).ids;
  at::Tensor hidden = model->backbone->embeddings(ids, model->compute_dtype);
  if (!finite(hidden)) return "embeddings";
  auto states = model->start_state();  // what prompts and initial states amount to
  at::Tensor residual;
  for (size_t i = 0; i < model->backbone->layers.size(); ++i) {
    auto& block = model->backbone->layers[i];
    if (!finite(states.layers[i].conv) || !finite(states.layers[i].scan))
      return mpeft::str("initial state of layer ", i);
    at::Tensor normed;
    std::tie(normed, residual) = block->norm(hidden, residual);
    hidden = block->mixer(normed, std::nullopt, &states.layers[i]);
    if (!finite(hidden) || !finite(normed)) return mpeft::str("layer ", i);
  }
  return finite(std::get<0>(model->backbone->norm_f(hidden, residual))) ? "" : "norm_f";
}

}  // namespace mpeft::train
