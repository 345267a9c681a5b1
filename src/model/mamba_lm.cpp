#include "mpeft/model/mamba_lm.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "kernels/rms_norm/rms_norm.h"
#include "mpeft/core/check.h"
#include "mpeft/core/error.h"

namespace mpeft::model {

RMSNormImpl::RMSNormImpl(int64_t d_model, double eps) : eps_(eps) {
  weight = register_parameter("weight", at::empty({d_model}), /*requires_grad=*/false);
}

std::tuple<at::Tensor, at::Tensor> RMSNormImpl::forward(const at::Tensor& x, const at::Tensor& residual) {
  const auto small_dtype = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const auto maybe_residual = residual.defined() ? std::optional<at::Tensor>(residual) : std::nullopt;
  return ops::rms_norm(x, maybe_residual, weight.to(small_dtype), eps_);
}

MambaBlockImpl::MambaBlockImpl(const MambaConfig& config) {
  norm = register_module("norm", RMSNorm(config.d_model, config.norm_eps));
  mixer = register_module("mixer", MambaMixer(config));
}

MambaBackboneImpl::MambaBackboneImpl(const MambaConfig& config) {
  embeddings = register_module("embeddings", Embedding(config.vocab_size, config.d_model));
  // Named layers.<i>: a parent module that only carries the numbers, as in the checkpoints.
  const auto numbered = register_module("layers", std::make_shared<torch::nn::Module>());
  for (int64_t i = 0; i < config.n_layer; ++i) {
    layers.push_back(numbered->register_module(std::to_string(i), MambaBlock(config)));
  }
  norm_f = register_module("norm_f", RMSNorm(config.d_model, config.norm_eps));
}

MambaLMImpl::MambaLMImpl(const MambaConfig& config) : config_(config) {
  config_.validate();
  backbone = register_module("backbone", MambaBackbone(config_));
  lm_head = register_module("lm_head", Projection(ProjectionOptions(config_.d_model, config_.vocab_size)));
  if (config_.tie_embeddings) lm_head->tie(backbone->embeddings->weight);
}

at::Tensor MambaLMImpl::forward_hidden(const at::Tensor& ids, const std::optional<at::Tensor>& lengths,
                                       InferenceCache* cache) {
  MPEFT_ASSERT(ids.dim() == 2, "ids must be (batch, seqlen)");
  InferenceCache from_zeros;
  InferenceCache& states = cache != nullptr ? *cache : from_zeros;
  if (states.empty()) {
    if (prompt_) {
      states = read_prompt();
    } else {
      states.layers.resize(backbone->layers.size());
    }
  }
  const at::Tensor hidden = backbone->embeddings(ids, compute_dtype);  // (batch, seqlen, d_model)
  return forward_layers(hidden, lengths, states, /*keep_states=*/cache != nullptr);
}

at::Tensor MambaLMImpl::forward_layers(at::Tensor hidden, const std::optional<at::Tensor>& lengths,
                                       InferenceCache& states, bool keep_states) {
  at::Tensor residual;  // (batch, seqlen, d_model), fp32
  for (size_t i = 0; i < backbone->layers.size(); ++i) {
    auto& block = backbone->layers[i];
    at::Tensor normed;
    std::tie(normed, residual) = block->norm(hidden, residual);
    hidden = block->mixer(normed, lengths, &states.layers[i]);
    if (!keep_states) states.layers[i] = {};  // nobody continues: do not hold every layer's state at once
  }
  return std::get<0>(backbone->norm_f(hidden, residual));
}

InferenceCache MambaLMImpl::read_prompt() {
  InferenceCache states;
  states.layers.resize(backbone->layers.size());
  forward_layers(prompt_->virtual_tokens(compute_dtype).unsqueeze(0), std::nullopt, states, /*keep_states=*/true);
  return states;
}

InferenceCache MambaLMImpl::start_state() {
  if (prompt_) return read_prompt();
  InferenceCache states;
  const auto small = compute_dtype == at::kDouble ? at::kDouble : at::kFloat;
  for (auto& block : backbone->layers) {
    auto& mixer = *block->mixer;
    LayerState state = mixer.start(compute_dtype);
    const auto options = at::TensorOptions().device(mixer.A_log.device());
    if (!state.conv.defined()) {
      state.conv = at::zeros({1, config_.d_conv - 1, config_.d_inner()}, options.dtype(compute_dtype));
    }
    if (!state.scan.defined()) state.scan = at::zeros({1, config_.d_inner(), mixer.n_states()}, options.dtype(small));
    states.layers.push_back(state);
  }
  return states;
}

void MambaLMImpl::attach_prompt(std::shared_ptr<PromptAdapter> prompt, std::shared_ptr<torch::nn::Module> module) {
  if (prompt_) throw ConfigError("prompt: the model has virtual tokens already");
  register_module("prompt", std::move(module));
  prompt_ = std::move(prompt);
}

void MambaLMImpl::detach_prompt() {
  if (!prompt_) return;
  unregister_module("prompt");
  prompt_.reset();
}

void MambaLMImpl::absorb_extra_states() {
  for (auto& block : backbone->layers) block->mixer->absorb_extra_states();
  config_.d_state = backbone->layers.front()->mixer->A_log.size(1);
}

at::Tensor MambaLMImpl::forward_head(const at::Tensor& hidden) { return lm_head(hidden); }

at::Tensor MambaLMImpl::forward(const at::Tensor& ids) { return forward_head(forward_hidden(ids)); }

at::Device MambaLMImpl::device() const { return backbone->embeddings->weight.device(); }

}  // namespace mpeft::model
