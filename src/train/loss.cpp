#include "mpeft/train/loss.h"

#include <algorithm>
#include <initializer_list>

#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/isfinite.h>

#include "mpeft/core/strings.h"

#include "train/head_loss.h"

namespace mpeft::train {
namespace {

/// Lists of numbers on the device by one copy that nobody waits for, one view each.
std::vector<at::Tensor> upload(std::initializer_list<const std::vector<int64_t>*> lists, at::Device device) {
  int64_t total = 0;
  for (const auto* list : lists) total += static_cast<int64_t>(list->size());
  // From pinned memory the copy runs in the order of the stream; the allocator keeps the memory until it is done.
  const at::Tensor host = at::empty({total}, at::TensorOptions().dtype(at::kLong).pinned_memory(device.is_cuda()));
  int64_t* to = host.mutable_data_ptr<int64_t>();
  for (const auto* list : lists) to = std::copy(list->begin(), list->end(), to);
  const at::Tensor all = host.to(device, /*non_blocking=*/true);
  std::vector<at::Tensor> views;
  int64_t begin = 0;
  for (const auto* list : lists) {
    views.push_back(all.narrow(0, begin, static_cast<int64_t>(list->size())));
    begin += static_cast<int64_t>(list->size());
  }
  return views;
}

}  // namespace

at::Tensor token_loss_sum(model::MambaLM& model, const data::Batch& batch) {
  std::vector<int64_t> positions, labels;
  for (size_t i = 0; i < batch.labels.size(); ++i) {
    if (batch.labels[i] == data::kIgnoreLabel) continue;
    positions.push_back(static_cast<int64_t>(i));
    labels.push_back(batch.labels[i]);
  }
  const auto inputs = upload({&batch.ids, &positions, &labels}, model->device());
  const at::Tensor hidden =
      model->forward_hidden(inputs[0].view({batch.rows, batch.seqlen}));             // (rows, seqlen, d_model)
  const at::Tensor labelled = at::index_select(hidden.flatten(0, 1), 0, inputs[1]);  // (n_labels, d_model)
  return head_loss_sum(model, labelled, inputs[2]);
}

std::string first_not_finite(model::MambaLM& model, const data::Batch& batch) {
  const torch::NoGradGuard no_grad;
  const auto finite = [](const at::Tensor& t) { return at::isfinite(t).all().item<bool>(); };
  const at::Tensor ids = upload({&batch.ids}, model->device())[0].view({batch.rows, batch.seqlen});
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
