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

}  // namespace mpeft::test
