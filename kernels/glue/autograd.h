#pragma once

#include <string>
#include <vector>

#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/functions/basic_ops.h>
#include <torch/csrc/autograd/functions/utils.h>

// defines: needs_graph, gradient_edges, wants_gradient, forbid_double_backward
//
// What the operators' autograd kernels share.

namespace mpeft::ops {

inline bool is_defined(const at::Tensor& tensor) { return tensor.defined(); }
inline bool is_defined(const std::optional<at::Tensor>& tensor) { return tensor.has_value() && tensor->defined(); }
inline at::Tensor value_or_undefined(const at::Tensor& tensor) { return tensor; }
inline at::Tensor value_or_undefined(const std::optional<at::Tensor>& tensor) { return tensor.value_or(at::Tensor()); }

/// True when a backward may follow: only then is it worth keeping anything for it.
template <typename... Tensors>
bool needs_graph(const Tensors&... tensors) {
  return at::GradMode::is_enabled() && ((is_defined(tensors) && value_or_undefined(tensors).requires_grad()) || ...);
}

/// For each tensor argument of a Function::forward, the index that ctx->needs_input_grad() knows it by (it counts the
/// tensors that are there), -1 for an absent one. All tensor arguments, in order.
template <typename... Tensors>
std::vector<int64_t> gradient_edges(const Tensors&... tensors) {
  std::vector<int64_t> edges;
  int64_t next = 0;
  ((edges.push_back(is_defined(tensors) ? next++ : -1)), ...);
  return edges;
}

/// True when the running backward pass asks for the gradient of the argument with this edge.
inline bool wants_gradient(const torch::autograd::AutogradContext& ctx, int64_t edge) {
  return edge >= 0 && ctx.needs_input_grad(static_cast<size_t>(edge));
}

/// Makes the gradients (results of a backward operator) refuse to be differentiated again: without this they would look
/// like constants and give a wrong second derivative without a word.
inline void forbid_double_backward(const char* op, const std::vector<at::Tensor>& inputs,
                                   const std::vector<at::Tensor>& gradients) {
  if (!torch::autograd::compute_requires_grad(at::TensorList(inputs))) return;
  auto node = std::make_shared<torch::autograd::Error>(
      std::string("mpeft::") + op +
          ": its gradient cannot be differentiated again (no double backward); use first-order "
          "gradients, or detach() them",
      torch::autograd::collect_next_edges(at::TensorList(inputs)));
  for (const at::Tensor& gradient : gradients) {
    if (gradient.defined()) torch::autograd::set_history(gradient, node);
  }
}

}  // namespace mpeft::ops
