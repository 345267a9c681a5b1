#include "model/linear_with_rows.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/custom_function.h>

#include "mpeft/core/check.h"

namespace mpeft::model {
namespace {

at::Tensor as_matrix(const at::Tensor& t) { return t.reshape({-1, t.size(-1)}); }

// Autograd on the concatenated weight would compute the gradient of every row: six times the rows that train.
class LinearWithRows : public torch::autograd::Function<LinearWithRows> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& rows) {
    const at::Tensor all = at::cat({weight, rows});  // (out_features + n, in_features): small beside the activations
    ctx->save_for_backward({x, all});
    ctx->saved_data["n"] = rows.size(0);
    return at::linear(x, all);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 const torch::autograd::variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &all = saved[1];
    const int64_t n = ctx->saved_data["n"].toInt();
    const at::Tensor dy = as_matrix(grads[0]);  // (tokens, out_features + n)
    at::Tensor dx, drows;
    if (ctx->needs_input_grad(0)) dx = at::mm(dy, all).view_as(x);
    if (ctx->needs_input_grad(2)) drows = at::mm(dy.narrow(1, all.size(0) - n, n).t(), as_matrix(x));
    return {dx, at::Tensor(), drows};
  }
};

}  // namespace

at::Tensor linear_with_rows(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& rows) {
  MPEFT_ASSERT(!weight.requires_grad(), "the weight is frozen here");
  return LinearWithRows::apply(x, weight, rows);
}

}  // namespace mpeft::model
