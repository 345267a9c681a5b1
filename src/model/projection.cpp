#include "mpeft/model/projection.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

namespace mpeft::model {

ProjectionImpl::ProjectionImpl(const ProjectionOptions& options) : options_(options) {
  weight =
      register_parameter("weight", at::empty({options_.out_features, options_.in_features}), /*requires_grad=*/false);
  if (options_.has_bias) bias = register_parameter("bias", at::empty({options_.out_features}), /*requires_grad=*/false);
}

at::Tensor ProjectionImpl::forward(const at::Tensor& x) {
  const auto dtype = x.scalar_type();
  std::optional<at::Tensor> b;
  if (options_.has_bias && !options_.defer_bias) b = bias.to(dtype);
  at::Tensor y = at::linear(x, weight.to(dtype), b);  // (..., out_features)
  for (const auto& [target, adapter] : adapters_) y = adapter->forward(x, y);
  return y;
}

void ProjectionImpl::attach(const std::string& target, std::shared_ptr<ProjectionAdapter> adapter,
                            std::shared_ptr<torch::nn::Module> module) {
  for (const auto& [name, existing] : adapters_) {
    if (name == target) throw ConfigError(mpeft::str(target, ": has an adapter already"));
  }
  register_module(target, std::move(module));
  adapters_.emplace_back(target, std::move(adapter));
}

void ProjectionImpl::merge_adapters() {
  const torch::NoGradGuard no_grad;
  for (const auto& [target, adapter] : adapters_) {
    const at::Tensor merged = weight.to(at::kFloat) + adapter->weight_delta().to(weight.device());
    weight.set_data(merged.to(weight.scalar_type()));
    unregister_module(target);
  }
  adapters_.clear();
}

RowSlice ProjectionImpl::rows(const std::string& target) const {
  for (const auto& slice : options_.slices) {
    if (slice.name == target) return slice;
  }
  return {target, 0, options_.out_features};
}

void ProjectionImpl::tie(const at::Tensor& shared_weight) {
  parameters_.erase("weight");
  weight = shared_weight;
}

}  // namespace mpeft::model
