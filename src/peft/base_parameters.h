#pragma once

#include <string>
#include <vector>

#include "mpeft/model/mamba_lm.h"
#include "mpeft/peft/peft_method.h"

namespace mpeft::peft {

/// A parameter of the base model, or named rows of one.
struct BaseParameter {
  std::string path;  ///< "backbone.layers.0.mixer.A_log", "backbone.layers.0.mixer.x_proj_B.weight"
  at::Tensor tensor;
  model::Projection projection{nullptr};  ///< whose weight it is, or its rows; null otherwise
  std::string slice;                      ///< name of the rows; empty for a whole parameter
};

/// Every parameter of the base model without what adapters have added, slices after the weight that they are part of,
/// in the order of the layers. A tied head has none of its own.
std::vector<BaseParameter> list_base_parameters(model::MambaLM& model);

/// True when the components of `pattern` stand side by side in `path`: "dt_proj", "norm.weight", "mixer.x_proj_B".
bool has_components(const std::string& path, const std::string& pattern);

/// Makes a parameter of the base trainable in place (rows: as ProjectionImpl::thaw_rows) and says how it is saved.
NamedParameter thaw(const BaseParameter& parameter);

/// Puts trained rows back into the weights of the model that they were taken from.
void merge_rows(model::MambaLM& model);

}  // namespace mpeft::peft
