#include "mpeft/model/precision.h"

#include <ATen/ops/empty_like.h>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

namespace mpeft::model {
namespace {

// What stays in fp32 whatever the compute dtype: the recurrence and the norms are sensitive to it, and all of it
// together is below one percent of the weights.
bool is_small_parameter(const std::string& name) {
  const auto ends_with = [&](std::string_view suffix) {
    return name.size() >= suffix.size() && name.compare(name.size() - suffix.size(), suffix.size(), suffix) == 0;
  };
  return ends_with(".A_log") || ends_with(".D") || ends_with(".dt_proj.bias") || ends_with("norm.weight") ||
         ends_with("norm_f.weight") || name.find(".conv1d.") != std::string::npos;
}

}  // namespace

at::ScalarType dtype_from_string(const std::string& name) {
  if (name == "fp32") return at::kFloat;
  if (name == "bf16") return at::kBFloat16;
  if (name == "fp16") return at::kHalf;
  if (name == "fp64") return at::kDouble;
  throw ConfigError(mpeft::str("precision '", name, "' is not known: use bf16, fp16 or fp32"));
}

std::string to_string(at::ScalarType dtype) {
  switch (dtype) {
    case at::kFloat:
      return "fp32";
    case at::kBFloat16:
      return "bf16";
    case at::kHalf:
      return "fp16";
    case at::kDouble:
      return "fp64";
    default:
      return at::toString(dtype);
  }
}

void place_parameters(MambaLM& model, at::Device device, at::ScalarType compute_dtype, bool master_weights,
                      bool with_values) {
  const torch::NoGradGuard no_grad;
  const auto master_dtype = compute_dtype == at::kDouble ? at::kDouble : at::kFloat;
  for (auto& item : model->named_parameters()) {
    at::Tensor& parameter = item.value();
    const bool keep_master = (parameter.requires_grad() && master_weights) || is_small_parameter(item.key());
    const auto dtype = keep_master ? master_dtype : compute_dtype;
    at::Tensor placed = with_values ? parameter.detach().to(device, dtype)
                                    : at::empty_like(parameter.detach(), at::TensorOptions(device).dtype(dtype));
    if (parameter.requires_grad() && placed.is_alias_of(parameter)) placed = placed.clone();
    if (!placed.is_contiguous()) placed = placed.contiguous();
    parameter.set_data(placed);
  }
  for (auto& item : model->named_buffers()) item.value().set_data(item.value().to(device));  // index lists of adapters
  model->compute_dtype = compute_dtype;
}

}  // namespace mpeft::model
