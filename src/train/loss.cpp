#include "mpeft/train/loss.h"

#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/tensor.h>

#include "mpeft/core/strings.h"

namespace mpeft::train {
namespace {

at::Tensor ids_tensor(const data::Batch& batch, at::Device device) {
  // from_blob does not copy; .to() makes the copy on a GPU, clone() on the CPU.
  auto* data = const_cast<int64_t*>(batch.ids.data());
  const at::Tensor host = at::from_blob(data, {batch.rows, batch.seqlen}, at::kLong);
  return device.is_cpu() ? host.clone() : host.to(device);
}

}  // namespace

at::Tensor token_loss_sum(model::MambaLM& model, const data::Batch& batch) {
  const at::Device device = model->device();
  std::vector<int64_t> positions, targets;
  for (size_t i = 0; i < batch.labels.size(); ++i) {
    if (batch.labels[i] == data::kIgnoreLabel) continue;
    positions.push_back(static_cast<int64_t>(i));
    targets.push_back(batch.labels[i]);
  }
  const at::Tensor hidden = model->forward_hidden(ids_tensor(batch, device));  // (rows, seqlen, d_model)
  const at::Tensor index = at::tensor(positions, at::kLong).to(device);        // (n_labels)
  const at::Tensor rows = at::index_select(hidden.flatten(0, 1), 0, index);    // (n_labels, d_model)
  const at::Tensor logits = model->forward_head(rows);                         // (n_labels, vocab_size)
  const auto wide = logits.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  return at::cross_entropy_loss(logits.to(wide), at::tensor(targets, at::kLong).to(device), /*weight=*/{},
                                at::Reduction::Sum);
}

std::string first_not_finite(model::MambaLM& model, const data::Batch& batch) {
  const torch::NoGradGuard no_grad;
  const auto finite = [](const at::Tensor& t) { return at::isfinite(t).all().item<bool>(); };
  at::Tensor hidden = model->backbone->embeddings(ids_tensor(batch, model->device()), model->compute_dtype);
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
