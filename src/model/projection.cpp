#include "mpeft/model/projection.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

#include "model/linear_with_rows.h"

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

std::tuple<at::Tensor, at::Tensor> ProjectionImpl::forward_with_rows(const at::Tensor& x, const at::Tensor& rows) {
  const auto dtype = x.scalar_type();
  const bool adds_bias = options_.has_bias && !options_.defer_bias;
  if (!adapters_.empty() || weight.requires_grad() || adds_bias) return {forward(x), at::linear(x, rows.to(dtype))};
  const at::Tensor y = linear_with_rows(x, weight.to(dtype), rows.to(dtype));  // (..., out_features + n)
  return {y.narrow(-1, 0, options_.out_features), y.narrow(-1, options_.out_features, rows.size(0))};
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

void ProjectionImpl::set_rows(const at::Tensor& new_weight, std::vector<RowSlice> slices) {
  if (!adapters_.empty()) throw ConfigError(adapters_.front().first + ": merge its adapter before the rows change");
  weight.set_data(new_weight);
  options_.out_features = new_weight.size(0);
  options_.slices = std::move(slices);
}

void ProjectionImpl::tie(const at::Tensor& shared_weight) {
  parameters_.erase("weight");
  weight = shared_weight;
}

}  // namespace mpeft::model
