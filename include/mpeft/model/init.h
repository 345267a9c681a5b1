#pragma once

#include <cstdint>

#include "mpeft/model/mamba_lm.h"

namespace mpeft::model {

/// Fills every parameter as the published training code does (state-spaces/mamba, `_init_weights` and
/// `Mamba.__init__`): embedding N(0, 0.02), linear layers uniform(±1/sqrt(fan_in)), out_proj divided by sqrt(n_layer),
/// A = -(1 … d_state), D = 1, dt log-uniform in [1e-3, 0.1], norms 1. fp32 on the CPU; depends on `seed` alone.
void init_parameters(MambaLM& model, uint64_t seed);

}  // namespace mpeft::model
