#pragma once

#include <memory>
#include <optional>
#include <vector>

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include "mpeft/model/embedding.h"
#include "mpeft/model/inference_cache.h"
#include "mpeft/model/mamba_config.h"
#include "mpeft/model/mamba_mixer.h"
#include "mpeft/model/projection.h"
#include "mpeft/model/prompt_adapter.h"

namespace mpeft::model {

/// RMSNorm's weight; the fused operator adds the residual and normalises.
class RMSNormImpl : public torch::nn::Module {
 public:
  RMSNormImpl(int64_t d_model, double eps);
  /// (normalised x + residual in x's dtype, x + residual in fp32). An undefined residual counts as 0.
  std::tuple<at::Tensor, at::Tensor> forward(const at::Tensor& x, const at::Tensor& residual);
  at::Tensor weight;  ///< (d_model)

 private:
  double eps_;
};
TORCH_MODULE(RMSNorm);

/// norm -> mixer; the residual stream passes by in fp32.
class MambaBlockImpl : public torch::nn::Module {
 public:
  explicit MambaBlockImpl(const MambaConfig& config);
  RMSNorm norm{nullptr};
  MambaMixer mixer{nullptr};
};
TORCH_MODULE(MambaBlock);

/// Embedding, n_layer blocks, final norm. Child names are the checkpoint's: embeddings, layers.<i>, norm_f.
class MambaBackboneImpl : public torch::nn::Module {
 public:
  explicit MambaBackboneImpl(const MambaConfig& config);
  Embedding embeddings{nullptr};
  std::vector<MambaBlock> layers;
  RMSNorm norm_f{nullptr};
};
TORCH_MODULE(MambaBackbone);

/// A Mamba language model: backbone and lm_head. Parameter names equal the checkpoint's tensor names.
class MambaLMImpl : public torch::nn::Module {
 public:
  /// Parameters are allocated, not initialised: see init.h and factory.h.
  explicit MambaLMImpl(const MambaConfig& config);

  /// ids (batch, seqlen) int64 -> hidden states after norm_f (batch, seqlen, d_model), compute dtype. With `cache`,
  /// continues from it and updates it; `lengths` (batch) int32 says how many tokens of each row count (right padding).
  at::Tensor forward_hidden(const at::Tensor& ids, const std::optional<at::Tensor>& lengths = {},
                            InferenceCache* cache = nullptr);

  /// hidden (..., d_model) -> logits (..., vocab_size), compute dtype.
  at::Tensor forward_head(const at::Tensor& hidden);

  /// ids (batch, seqlen) -> logits (batch, seqlen, vocab_size), compute dtype.
  at::Tensor forward(const at::Tensor& ids);

  /// What every text starts from in each layer, batch 1: what prompts and initial states amount to. conv
  /// (1, d_conv - 1, d_inner) in the compute dtype, scan (1, d_inner, d_state); zeros where nobody says otherwise.
  InferenceCache start_state();

  /// Puts virtual tokens before every text. `module` holds their parameters and becomes the child `prompt`. Throws
  /// ConfigError when there is a prompt already.
  void attach_prompt(std::shared_ptr<PromptAdapter> prompt, std::shared_ptr<torch::nn::Module> module);
  void detach_prompt();

  /// Makes the extra states of every layer part of the weights (MambaMixer::absorb_extra_states) and of config().
  void absorb_extra_states();

  const MambaConfig& config() const { return config_; }
  at::Device device() const;

  /// What activations are computed in; set by place_parameters (precision.h).
  at::ScalarType compute_dtype = at::kFloat;

  MambaBackbone backbone{nullptr};
  Projection lm_head{nullptr};

 private:
  /// Runs the layers on embeddings (batch, n, d_model), each from its state in `states`, which become the states after.
  at::Tensor forward_layers(at::Tensor hidden, const std::optional<at::Tensor>& lengths, InferenceCache& states,
                            bool keep_states);
  InferenceCache read_prompt();

  MambaConfig config_;
  std::shared_ptr<PromptAdapter> prompt_;
};
TORCH_MODULE(MambaLM);

}  // namespace mpeft::model
