#include "mpeft/model/token_stepper.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>

#include "kernels/decode_step/decode_step.h"

namespace mpeft::model {

TokenStepper::TokenStepper(MambaLM model) : model_(std::move(model)) {
  const at::NoGradGuard no_grad;
  for (const auto& block : model_->backbone->layers) A_.push_back(block->mixer->scan_A());
}

InferenceCache TokenStepper::make_states(int64_t rows) const {
  const auto& config = model_->config();
  const auto options = at::TensorOptions().device(model_->device());
  InferenceCache states;
  for (const auto& block : model_->backbone->layers) {
    states.layers.push_back(
        {at::zeros({rows, config.d_conv - 1, config.d_inner()}, options.dtype(model_->compute_dtype)),
         at::zeros({rows, config.d_inner(), block->mixer->n_states()}, options.dtype(at::kFloat))});
  }
  return states;
}

at::Tensor TokenStepper::step(const at::Tensor& tokens, const std::optional<at::Tensor>& parents,
                              const InferenceCache& from, InferenceCache& to) {
  const at::NoGradGuard no_grad;
  const auto norm = [&](const RMSNorm& module, const at::Tensor& x, const at::Tensor& through) {
    const auto maybe = through.defined() ? std::optional<at::Tensor>(through) : std::nullopt;
    return ops::decode_norm(x, maybe, module->weight.to(at::kFloat), model_->config().norm_eps);
  };
  at::Tensor hidden = model_->backbone->embeddings(tokens, model_->compute_dtype);  // (rows, d_model)
  at::Tensor residual;                                                              // (rows, d_model), fp32
  for (size_t i = 0; i < model_->backbone->layers.size(); ++i) {
    auto& block = model_->backbone->layers[i];
    at::Tensor normed;
    std::tie(normed, residual) = norm(block->norm, hidden, residual);
    hidden = block->mixer->step(normed, from.layers[i], to.layers[i], parents, A_[i]);
  }
  return std::get<0>(norm(model_->backbone->norm_f, hidden, residual));
}

}  // namespace mpeft::model
