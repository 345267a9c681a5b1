#include "model/trained_rows.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/custom_function.h>

namespace mpeft::model {
namespace {

class LinearWithTrainedRows : public torch::autograd::Function<LinearWithTrainedRows> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& rows, const std::vector<RowSlice>& slices) {
    const at::Tensor whole = replace_rows(weight, rows, slices);
    ctx->save_for_backward({x, whole});
    std::vector<int64_t> bounds;
    for (const auto& slice : slices) {
      bounds.push_back(slice.begin);
      bounds.push_back(slice.end);
    }
    ctx->saved_data["bounds"] = bounds;
    return at::linear(x, whole);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &whole = saved[1];
    const at::Tensor dy = grads[0].reshape({-1, whole.size(0)});  // (n, out_features)
    at::Tensor dx, drows;
    if (ctx->needs_input_grad(0)) dx = at::mm(dy, whole).view_as(x);
    if (ctx->needs_input_grad(2)) {
      const auto bounds = ctx->saved_data["bounds"].toIntVector();
      const at::Tensor x_rows = x.reshape({-1, whole.size(1)});  // (n, in_features)
      std::vector<at::Tensor> pieces;
      for (size_t i = 0; i < bounds.size();) {  // one GEMM for neighbours
        const int64_t begin = bounds[i];
        int64_t end = bounds[i + 1];
        for (i += 2; i < bounds.size() && bounds[i] == end; i += 2) end = bounds[i + 1];
        pieces.push_back(at::mm(dy.narrow(1, begin, end - begin).t(), x_rows));
      }
      drows = pieces.size() == 1 ? pieces[0] : at::cat(pieces);
    }
    return {dx, at::Tensor(), drows, at::Tensor()};
  }
};

}  // namespace

at::Tensor replace_rows(const at::Tensor& weight, const at::Tensor& rows, const std::vector<RowSlice>& slices) {
  std::vector<at::Tensor> pieces;
  int64_t position = 0, used = 0;
  for (const auto& slice : slices) {
    if (slice.begin > position) pieces.push_back(weight.narrow(0, position, slice.begin - position));
    pieces.push_back(rows.narrow(0, used, slice.end - slice.begin));
    used += slice.end - slice.begin;
    position = slice.end;
  }
  if (position < weight.size(0)) pieces.push_back(weight.narrow(0, position, weight.size(0) - position));
  return at::cat(pieces);
}

at::Tensor linear_with_trained_rows(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& rows,
                                    const std::vector<RowSlice>& slices) {
  return LinearWithTrainedRows::apply(x, weight, rows, slices);
}

}  // namespace mpeft::model
