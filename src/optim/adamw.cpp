#include "mpeft/optim/adamw.h"

#include <algorithm>
#include <map>
#include <tuple>

#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "mpeft/core/check.h"
#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

namespace mpeft::optim {

AdamW::AdamW(std::vector<TrainedParameter> parameters, const AdamWOptions& options) : options_(options) {
  MPEFT_ASSERT(!parameters.empty(), "nothing to train");
  const at::NoGradGuard no_grad;
  // Those that are updated alike lie side by side, in the given order otherwise.
  std::stable_sort(parameters.begin(), parameters.end(), [](const TrainedParameter& a, const TrainedParameter& b) {
    return std::tie(a.lr_scale, a.weight_decay) < std::tie(b.lr_scale, b.weight_decay);
  });
  std::map<at::ScalarType, size_t> group_of;
  for (auto& [name, parameter, lr_scale, weight_decay] : parameters) {
    const auto [it, is_new] = group_of.emplace(parameter.scalar_type(), groups_.size());
    if (is_new) groups_.emplace_back();
    Group& group = groups_[it->second];
    const int64_t begin =
        group.entries.empty() ? 0 : group.entries.back().begin + group.entries.back().parameter.numel();
    group.entries.push_back({name, parameter, begin});
    if (group.segments.empty() || group.segments.back().lr_scale != lr_scale ||
        group.segments.back().weight_decay != weight_decay) {
      group.segments.push_back({lr_scale, weight_decay, begin, begin});
    }
    group.segments.back().end = begin + parameter.numel();
  }
  for (auto& group : groups_) {
    const Entry& last = group.entries.back();
    const int64_t n = last.begin + last.parameter.numel();
    group.data = at::empty({n}, last.parameter.options().requires_grad(false));
    for (auto& entry : group.entries) {
      at::Tensor view = group.data.narrow(0, entry.begin, entry.parameter.numel()).view(entry.parameter.sizes());
      view.copy_(entry.parameter);
      entry.parameter.set_data(view);
    }
    group.exp_avg = at::zeros_like(group.data);
    group.exp_avg_sq = at::zeros_like(group.data);
    group.step = at::zeros({}, group.data.options().dtype(at::kFloat));
  }
}

void AdamW::bind_gradients() {
  if (bound_) return;
  const at::NoGradGuard no_grad;
  for (auto& group : groups_) {
    group.gradient = at::zeros_like(group.data);
    for (auto& entry : group.entries) {
      at::Tensor view = group.gradient.narrow(0, entry.begin, entry.parameter.numel()).view(entry.parameter.sizes());
      if (entry.parameter.grad().defined()) view.copy_(entry.parameter.grad());
      entry.parameter.mutable_grad() = view;  // autograd adds to it in place from now on
    }
  }
  bound_ = true;
}

at::Tensor AdamW::gradient_norm(double loss_scale) {
  bind_gradients();
  const at::NoGradGuard no_grad;
  at::Tensor squares;
  for (auto& group : groups_) {
    const at::Tensor norm = at::linalg_vector_norm(group.gradient, 2, std::nullopt, false, at::kFloat);
    squares = squares.defined() ? squares + norm * norm : norm * norm;
  }
  return squares.sqrt().div_(loss_scale);
}

void AdamW::step(double learning_rate, const at::Tensor& norm, double loss_scale) {
  bind_gradients();
  const at::NoGradGuard no_grad;
  // torch.nn.utils.clip_grad_norm_'s factor, and 1 / loss_scale in the same division: the fused kernel divides the
  // gradients by grad_scale.
  at::Tensor grad_scale = at::full({}, loss_scale, norm.options());
  if (options_.max_grad_norm > 0) {
    grad_scale = grad_scale * (norm + 1e-6).div(options_.max_grad_norm).clamp_min(1.0);
  }
  const at::Tensor found_inf = at::isfinite(norm).logical_not().to(at::kFloat);  // 1: the fused kernel changes nothing
  for (auto& group : groups_) {
    group.step.add_(1.0 - found_inf);
    for (const Segment& segment : group.segments) {
      const auto part = [&](const at::Tensor& flat) {
        return flat.narrow(0, segment.begin, segment.end - segment.begin);
      };
      at::_fused_adamw_({part(group.data)}, {part(group.gradient)}, {part(group.exp_avg)}, {part(group.exp_avg_sq)},
                        /*max_exp_avg_sqs=*/{}, {group.step}, learning_rate * segment.lr_scale, options_.beta1,
                        options_.beta2, segment.weight_decay ? options_.weight_decay : 0.0, options_.eps,
                        /*amsgrad=*/false, /*maximize=*/false, grad_scale, found_inf);
    }
  }
  zero_gradients();
}

void AdamW::zero_gradients() {
  const at::NoGradGuard no_grad;
  for (auto& group : groups_) {
    if (group.gradient.defined()) group.gradient.zero_();
  }
}

checkpoint::TensorMap AdamW::state() const {
  checkpoint::TensorMap state;
  for (const auto& group : groups_) {
    for (const auto& entry : group.entries) {
      const int64_t n = entry.parameter.numel();
      state.emplace("exp_avg." + entry.name, group.exp_avg.narrow(0, entry.begin, n).view(entry.parameter.sizes()));
      state.emplace("exp_avg_sq." + entry.name,
                    group.exp_avg_sq.narrow(0, entry.begin, n).view(entry.parameter.sizes()));
    }
  }
  state.emplace("step", groups_.front().step);
  return state;
}

void AdamW::load_state(const checkpoint::TensorMap& state) {
  const at::NoGradGuard no_grad;
  const auto copy = [&](at::Tensor to, const std::string& name) {
    const auto it = state.find(name);
    if (it == state.end()) throw CheckpointError(mpeft::str("optimizer state: ", name, " is missing"));
    if (it->second.sizes() != to.sizes()) {
      throw CheckpointError(
          mpeft::str("optimizer state: ", name, ": expected shape ", to.sizes(), ", found ", it->second.sizes()));
    }
    to.copy_(it->second);
  };
  for (auto& group : groups_) {
    for (auto& entry : group.entries) {
      const int64_t n = entry.parameter.numel();
      copy(group.exp_avg.narrow(0, entry.begin, n).view(entry.parameter.sizes()), "exp_avg." + entry.name);
      copy(group.exp_avg_sq.narrow(0, entry.begin, n).view(entry.parameter.sizes()), "exp_avg_sq." + entry.name);
    }
    copy(group.step, "step");
  }
}

int64_t AdamW::n_parameters() const {
  int64_t n = 0;
  for (const auto& group : groups_) n += group.data.numel();
  return n;
}

}  // namespace mpeft::optim
