#include "peft/kept_columns.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include "mpeft/core/check.h"

#include "peft/low_rank.h"

namespace mpeft::peft {
namespace {

// In place on the slice, as low_rank.cpp: the base projection's output is written once and never copied.
class AddRows : public torch::autograd::Function<AddRows> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, at::Tensor y, const at::Tensor& kept,
                            const at::Tensor& delta, int64_t row_begin) {
    auto rows = y.view({-1, y.size(-1)}).narrow(1, row_begin, delta.size(0));  // (n, rows), a view of y
    rows.addmm_(as_rows(kept), delta.t());
    ctx->mark_dirty({y});
    ctx->save_for_backward({kept, delta});
    ctx->saved_data["row_begin"] = row_begin;
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &kept = saved[0], &delta = saved[1];
    const at::Tensor& dy = grads[0];  // (..., out_features)
    const at::Tensor drows = as_rows(dy).narrow(1, ctx->saved_data["row_begin"].toInt(), delta.size(0));  // (n, rows)
    at::Tensor dkept, ddelta;
    if (ctx->needs_input_grad(1)) dkept = at::mm(drows, delta).view_as(kept);
    if (ctx->needs_input_grad(2)) ddelta = at::mm(drows.t(), as_rows(kept));
    return {dy, dkept, ddelta, at::Tensor()};
  }
};

}  // namespace

at::Tensor add_rows(at::Tensor y, const at::Tensor& kept, const at::Tensor& delta, int64_t row_begin) {
  return AddRows::apply(std::move(y), kept, delta, row_begin);
}

KeptColumns::KeptColumns(const std::vector<model::RowSlice>& parts, const std::vector<int64_t>& columns,
                         const model::ProjectionOptions& projection)
    : in_features_(projection.in_features), out_features_(projection.out_features) {
  columns_ = register_buffer("columns", at::tensor(columns, at::kLong));
  for (const auto& rows : parts) {
    if (runs_.empty() || parts_.back().rows.end != rows.begin) runs_.push_back({rows.begin, {}});
    runs_.back().parts.push_back(parts_.size());
    parts_.push_back({rows, register_parameter(rows.name, at::zeros({rows.end - rows.begin, columns_.size(0)}))});
  }
}

at::Tensor KeptColumns::forward(const at::Tensor& x, at::Tensor y) {
  const at::Tensor kept = at::index_select(x, -1, columns_);  // (..., k)
  for (const auto& run : runs_) {
    std::vector<at::Tensor> deltas;
    for (const size_t part : run.parts) deltas.push_back(parts_[part].delta);
    const at::Tensor delta = deltas.size() == 1 ? deltas[0] : at::cat(deltas);  // (rows of the run, k)
    y = add_rows(std::move(y), kept, delta.to(x.scalar_type()), run.row_begin);
  }
  return y;
}

at::Tensor KeptColumns::weight_delta() const {
  const torch::NoGradGuard no_grad;
  at::Tensor change = at::zeros({out_features_, in_features_}, columns_.options().dtype(at::kFloat));
  for (const auto& part : parts_) {
    change.narrow(0, part.rows.begin, part.rows.end - part.rows.begin)
        .index_copy_(1, columns_, part.delta.to(at::kFloat));
  }
  return change;
}

const at::Tensor& KeptColumns::delta(const std::string& part) const {
  for (const auto& candidate : parts_) {
    if (candidate.rows.name == part) return candidate.delta;
  }
  MPEFT_ASSERT(false, "no kept columns of ", part);
}

}  // namespace mpeft::peft
