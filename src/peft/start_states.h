#pragma once

#include "mpeft/checkpoint/tensor_map.h"
#include "mpeft/model/mamba_lm.h"

namespace mpeft::peft {

/// Names of SSMPEFT's parameters in a layer, which the state file uses too.
inline constexpr const char* kInitialStateName = "initial_state";  ///< (d_inner, d_state)
inline constexpr const char* kConvStateName = "conv_state";        ///< (d_inner, d_conv - 1), oldest first

/// The state file: what every text starts from in each layer, fp32, under the names of an SSMPEFT adapter with initial
/// and convolution states ("base_model.model.backbone.layers.0.mixer.ssmpeft.initial_state"). Prompts, affixes and
/// initial states amount to exactly that, since their tokens do not depend on the text.
checkpoint::TensorMap start_states(model::MambaLM& model);

}  // namespace mpeft::peft
