#include "train/head_loss.h"

#include <algorithm>
#include <vector>

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include "kernels/cross_entropy/cross_entropy.h"

namespace mpeft::train {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Gradients of logits are probabilities, as small as 1 / vocab_size: fp16 would lose most of their bits.
double gradient_scale(at::ScalarType dtype) { return dtype == at::kHalf ? 256.0 : 1.0; }

at::TensorOptions loss_options(const at::Tensor& hidden) {
  return hidden.options().dtype(hidden.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
}

template <typename Body>
void for_each_chunk(int64_t n, int64_t rows_at_once, const Body& body) {
  for (int64_t begin = 0; begin < n; begin += rows_at_once) body(begin, std::min(rows_at_once, n - begin));
}

/// gradient (made for the loss times `scale`) of a loss that counts `upstream` times, in the gradient's dtype.
at::Tensor scaled(const at::Tensor& gradient, const at::Tensor& upstream, double scale) {
  // through fp32: a 0-dim factor would be rounded to the gradient's dtype first
  return (gradient.to(upstream.scalar_type()) * upstream.div(scale)).to(gradient.scalar_type());
}

/// A second derivative would take the gradients for constants.
void forbid_create_graph() {
  TORCH_CHECK(!at::GradMode::is_enabled(), "the loss cannot be differentiated twice (no double backward)");
}

/// The head has neither adapters nor anything that trains: only hidden needs a gradient, and the logits' gradient can
/// take their place.
class FrozenHeadLoss : public torch::autograd::Function<FrozenHeadLoss> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& hidden, const at::Tensor& weight,
                            const at::Tensor& labels, int64_t rows_at_once) {
    const double scale = gradient_scale(hidden.scalar_type());
    const at::Tensor losses = at::empty({hidden.size(0)}, loss_options(hidden));
    const at::Tensor dhidden = at::empty_like(hidden);
    for_each_chunk(hidden.size(0), rows_at_once, [&](int64_t begin, int64_t n) {
      at::Tensor logits = at::linear(hidden.narrow(0, begin, n), weight);  // (n, vocab_size)
      const at::Tensor target = labels.narrow(0, begin, n);
      losses.narrow(0, begin, n).copy_(ops::cross_entropy_take_gradient_(logits, target, scale));
      at::Tensor to = dhidden.narrow(0, begin, n);
      at::mm_out(to, logits, weight);
    });
    ctx->save_for_backward({dhidden});
    return losses.sum();
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    forbid_create_graph();
    const at::Tensor dhidden = ctx->get_saved_variables()[0];
    return {scaled(dhidden, grads[0], gradient_scale(dhidden.scalar_type())), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

/// Any head: each chunk has a graph of its own, which is gone before the next.
class TrainedHeadLoss : public torch::autograd::Function<TrainedHeadLoss> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& hidden, at::TensorList trained,
                            const at::Tensor& labels, model::MambaLM model, int64_t rows_at_once) {
    const double scale = gradient_scale(hidden.scalar_type());
    const at::Tensor losses = at::empty({hidden.size(0)}, loss_options(hidden));
    variable_list gradients(trained.size() + 1);
    gradients[0] = at::empty_like(hidden);
    for_each_chunk(hidden.size(0), rows_at_once, [&](int64_t begin, int64_t n) {
      const at::AutoGradMode with_graph(true);
      variable_list inputs{hidden.narrow(0, begin, n).detach().requires_grad_()};
      inputs.insert(inputs.end(), trained.begin(), trained.end());
      const at::Tensor chunk = ops::cross_entropy(model->forward_head(inputs[0]), labels.narrow(0, begin, n));  // (n)
      const auto of_chunk =
          torch::autograd::grad({chunk}, inputs, {at::full({n}, scale, chunk.options())}, /*retain_graph=*/false,
                                /*create_graph=*/false, /*allow_unused=*/true);
      const at::NoGradGuard no_grad;
      losses.narrow(0, begin, n).copy_(chunk);
      gradients[0].narrow(0, begin, n).copy_(of_chunk[0]);
      for (size_t i = 1; i < inputs.size(); ++i) {
        if (!of_chunk[i].defined()) continue;
        gradients[i] = gradients[i].defined() ? gradients[i] + of_chunk[i] : of_chunk[i];
      }
    });
    ctx->saved_data["scale"] = scale;
    ctx->save_for_backward(gradients);
    return losses.sum();
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    forbid_create_graph();
    variable_list result = ctx->get_saved_variables();
    for (auto& gradient : result) {
      if (gradient.defined()) gradient = scaled(gradient, grads[0], ctx->saved_data["scale"].toDouble());
    }
    result.resize(result.size() + 3);  // labels, model, rows_at_once
    return result;
  }
};

/// What trains in the head: its own parameters, its adapters', and the table it shares with the embedding.
variable_list trained_parameters(model::MambaLM& model) {
  variable_list trained;
  if (model->lm_head->weight.requires_grad()) trained.push_back(model->lm_head->weight);
  for (const auto& parameter : model->lm_head->parameters()) {
    if (parameter.requires_grad() && !parameter.is_same(model->lm_head->weight)) trained.push_back(parameter);
  }
  return trained;
}

at::Tensor loss_of_chunks(model::MambaLM& model, const at::Tensor& hidden, const at::Tensor& labels,
                          int64_t rows_at_once) {
  const at::NoGradGuard no_grad;
  const at::Tensor losses = at::empty({hidden.size(0)}, loss_options(hidden));
  for_each_chunk(hidden.size(0), rows_at_once, [&](int64_t begin, int64_t n) {
    const at::Tensor logits = model->forward_head(hidden.narrow(0, begin, n));  // (n, vocab_size)
    losses.narrow(0, begin, n).copy_(ops::cross_entropy(logits, labels.narrow(0, begin, n)));
  });
  return losses.sum();
}

}  // namespace

at::Tensor head_loss_sum(model::MambaLM& model, const at::Tensor& hidden, const at::Tensor& labels,
                         int64_t rows_at_once) {
  const auto& head = model->lm_head;
  const auto trained = trained_parameters(model);
  if (!at::GradMode::is_enabled() || (!hidden.requires_grad() && trained.empty())) {
    return loss_of_chunks(model, hidden, labels, rows_at_once);
  }
  if (trained.empty() && head->is_plain(hidden.scalar_type())) {
    return FrozenHeadLoss::apply(hidden, head->weight, labels, rows_at_once);
  }
  if (hidden.size(0) <= rows_at_once) return ops::cross_entropy(model->forward_head(hidden), labels).sum();
  return TrainedHeadLoss::apply(hidden, at::TensorList(trained), labels, model, rows_at_once);
}

}  // namespace mpeft::train
