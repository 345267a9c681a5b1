#pragma once

#include "mpeft/model/init.h"
#include "mpeft/model/mamba_lm.h"

namespace mpeft::test {

/// A model of odd sizes with the published initial values; everything frozen.
inline model::MambaLM make_tiny_model(uint64_t seed = 1) {
  model::MambaConfig config;
  config.d_model = 24;
  config.n_layer = 2;
  config.vocab_size = 61;
  config.d_state = 8;
  model::MambaLM model(config);
  model::init_parameters(model, seed);
  return model;
}

/// Tokens for it, or for any model of a vocabulary of 61: (1, 11).
inline const at::Tensor& some_ids() {
  static const at::Tensor ids = at::tensor({3, 17, 60, 5, 5, 41, 8, 0, 22, 9, 30}, at::kLong).unsqueeze(0);
  return ids;
}

/// Logits of some_ids, in evaluation.
inline at::Tensor logits_of(model::MambaLM& model) {
  const torch::NoGradGuard no_grad;
  model->eval();
  return model->forward(some_ids());
}

}  // namespace mpeft::test
