#include "mpeft/model/mamba_lm.h"

#include <ATen/ops/empty.h>

#include "kernels/rms_norm/rms_norm.h"
#include "mpeft/core/check.h"

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
  if (cache != nullptr && cache->empty()) cache->layers.resize(backbone->layers.size());

  at::Tensor hidden = backbone->embeddings(ids, compute_dtype);  // (batch, seqlen, d_model)
  at::Tensor residual;                                           // (batch, seqlen, d_model), fp32
  for (size_t i = 0; i < backbone->layers.size(); ++i) {
    auto& block = backbone->layers[i];
    at::Tensor normed;
    std::tie(normed, residual) = block->norm(hidden, residual);
    hidden = block->mixer(normed, lengths, cache != nullptr ? &cache->layers[i] : nullptr);
  }
  return std::get<0>(backbone->norm_f(hidden, residual));
}

at::Tensor MambaLMImpl::forward_head(const at::Tensor& hidden) { return lm_head(hidden); }

at::Tensor MambaLMImpl::forward(const at::Tensor& ids) { return forward_head(forward_hidden(ids)); }

at::Device MambaLMImpl::device() const { return backbone->embeddings->weight.device(); }

}  // namespace mpeft::model
