#include "mpeft/model/projection.h"

#include <algorithm>

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>

#include "kernels/decode_step/decode_step.h"
#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

#include "model/linear_with_rows.h"
#include "model/trained_rows.h"

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
  at::Tensor y;  // (..., out_features)
  if (thawed_.empty()) {
    y = at::linear(x, weight.to(dtype), b);
  } else {
    y = linear_with_trained_rows(x, weight.to(dtype), trained_rows(dtype), thawed_);
    if (b) y = y + *b;
  }
  for (const auto& [target, adapter] : adapters_) y = adapter->forward(x, y);
  return y;
}

std::tuple<at::Tensor, at::Tensor> ProjectionImpl::forward_with_rows(const at::Tensor& x, const at::Tensor& rows) {
  const auto dtype = x.scalar_type();
  const bool adds_bias = options_.has_bias && !options_.defer_bias;
  if (!adapters_.empty() || !thawed_.empty() || weight.requires_grad() || adds_bias)
    return {forward(x), at::linear(x, rows.to(dtype))};
  const at::Tensor y = linear_with_rows(x, weight.to(dtype), rows.to(dtype));  // (..., out_features + n)
  const auto parts = y.split_with_sizes({options_.out_features, rows.size(0)}, -1);
  return {parts[0], parts[1]};
}

at::Tensor ProjectionImpl::step(const at::Tensor& x) {
  const bool adds_bias = options_.has_bias && !options_.defer_bias;
  // A cast of the weight costs more than it would save, and must not run right before the kernel.
  if (adds_bias || !thawed_.empty() || weight.scalar_type() != x.scalar_type()) return forward(x);
  at::Tensor y = ops::decode_linear(x, weight);  // (rows, out_features)
  for (const auto& [target, adapter] : adapters_) y = adapter->forward(x, y);
  return y;
}

bool ProjectionImpl::is_plain(at::ScalarType dtype) const {
  return adapters_.empty() && thawed_.empty() && weight.scalar_type() == dtype &&
         !(options_.has_bias && !options_.defer_bias);
}

void ProjectionImpl::attach(const std::string& target, std::shared_ptr<ProjectionAdapter> adapter,
                            std::shared_ptr<torch::nn::Module> module) {
  reject_attached(target);
  register_module(target, std::move(module));
  adapters_.emplace_back(target, std::move(adapter));
}

at::Tensor ProjectionImpl::thaw_rows(const std::string& slice) {
  const auto known =
      std::find_if(options_.slices.begin(), options_.slices.end(), [&](const RowSlice& s) { return s.name == slice; });
  if (known == options_.slices.end()) throw ConfigError(mpeft::str(slice, ": no rows have this name"));
  reject_attached(slice);
  auto module = std::make_shared<torch::nn::Module>(slice);
  const at::Tensor rows = weight.detach().narrow(0, known->begin, known->end - known->begin).clone();
  const at::Tensor parameter = module->register_parameter("weight", rows, /*requires_grad=*/true);
  register_module(slice, std::move(module));
  const auto at = std::find_if(thawed_.begin(), thawed_.end(), [&](const auto& s) { return s.begin > known->begin; });
  thawed_rows_.insert(thawed_rows_.begin() + (at - thawed_.begin()), parameter);
  thawed_.insert(at, *known);
  return parameter;
}

at::Tensor ProjectionImpl::trained_rows(at::ScalarType dtype) const {
  return (thawed_rows_.size() == 1 ? thawed_rows_[0] : at::cat(thawed_rows_)).to(dtype);
}

int64_t ProjectionImpl::n_replaced() const {
  int64_t n = 0;
  for (const auto& rows : thawed_rows_) n += rows.numel();
  return n;
}

void ProjectionImpl::reject_attached(const std::string& target) const {
  const bool is_taken =
      std::any_of(adapters_.begin(), adapters_.end(), [&](const auto& item) { return item.first == target; }) ||
      std::any_of(thawed_.begin(), thawed_.end(), [&](const RowSlice& slice) { return slice.name == target; });
  if (is_taken) throw ConfigError(mpeft::str(target, ": has an adapter already"));
}

void ProjectionImpl::merge_adapters() {
  const torch::NoGradGuard no_grad;
  if (!thawed_.empty()) weight.set_data(replace_rows(weight, trained_rows(weight.scalar_type()), thawed_));
  for (const auto& slice : thawed_) unregister_module(slice.name);
  thawed_.clear();
  thawed_rows_.clear();
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
  if (!adapters_.empty() || !thawed_.empty()) {
    const auto& name = adapters_.empty() ? thawed_.front().name : adapters_.front().first;
    throw ConfigError(name + ": merge its adapter before the rows change");
  }
  weight.set_data(new_weight);
  options_.out_features = new_weight.size(0);
  options_.slices = std::move(slices);
}

void ProjectionImpl::tie(const at::Tensor& shared_weight) {
  parameters_.erase("weight");
  weight = shared_weight;
}

}  // namespace mpeft::model
