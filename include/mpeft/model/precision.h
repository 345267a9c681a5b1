#pragma once

#include <string>

#include "mpeft/model/mamba_lm.h"

namespace mpeft::model {

/// "fp32", "bf16", "fp16" (and fp64, for tests) to a dtype. Throws ConfigError for another name.
at::ScalarType dtype_from_string(const std::string& name);
std::string to_string(at::ScalarType dtype);

/// Moves the model (adapters included) to `device` and gives every parameter its dtype: what trains is kept in fp32
/// (with `master_weights`), as are A_log, D, conv1d, dt_proj.bias and the norms; all else is kept in `compute_dtype`.
/// Trainable parameters get memory of their own, so that a memory-mapped checkpoint is never written. Call after
/// requires_grad is set. with_values: false gives memory alone, for a model whose weights are undefined.
void place_parameters(MambaLM& model, at::Device device, at::ScalarType compute_dtype, bool master_weights = true,
                      bool with_values = true);

}  // namespace mpeft::model
