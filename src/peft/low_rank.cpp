#include "peft/low_rank.h"

#include <ATen/ops/add.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/native_dropout.h>
#include <ATen/ops/native_dropout_backward.h>
#include <torch/csrc/autograd/custom_function.h>

namespace mpeft::peft {
namespace {

// scale * a b in the one kernel of the product (with beta 0 the first tensor is not read).
at::Tensor scaled_mm(const at::Tensor& a, const at::Tensor& b, double scale) {
  if (scale == 1.0) return at::mm(a, b);
  return at::addmm(at::empty({1, 1}, a.options()), a, b, /*beta=*/0, /*alpha=*/scale);
}

// One in-place GEMM onto the slice instead of autograd's slice, add and concatenation: the base projection's output is
// written once and never copied.
class AddLowRank : public torch::autograd::Function<AddLowRank> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, at::Tensor y, const at::Tensor& x,
                            const at::Tensor& A, const at::Tensor& B, double scale, int64_t row_begin, double dropout) {
    at::Tensor dropped = as_rows(x), mask;  // (n, in_features)
    if (dropout > 0) std::tie(dropped, mask) = at::native_dropout(dropped, dropout, /*train=*/true);
    const at::Tensor low = at::mm(dropped, A.t());                         // (n, rank)
    auto rows = y.view({-1, y.size(-1)}).narrow(1, row_begin, B.size(0));  // (n, rows), a view of y
    rows.addmm_(low, B.t(), /*beta=*/1, /*alpha=*/scale);
    ctx->mark_dirty({y});
    ctx->save_for_backward({x, A, B, low, mask});
    ctx->saved_data["scale"] = scale;
    ctx->saved_data["row_begin"] = row_begin;
    ctx->saved_data["dropout"] = dropout;
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &A = saved[1], &B = saved[2], &low = saved[3], &mask = saved[4];
    const double scale = ctx->saved_data["scale"].toDouble(), dropout = ctx->saved_data["dropout"].toDouble();
    const at::Tensor& dy = grads[0];  // (..., out_features)
    const at::Tensor drows = as_rows(dy).narrow(1, ctx->saved_data["row_begin"].toInt(), B.size(0));  // (n, rows)
    const double survivor = dropout > 0 ? 1.0 / (1.0 - dropout) : 1.0;

    at::Tensor dx, dA, dB;
    // The derivative of dropout multiplies by its mask, and so does dropout itself: one kernel for either.
    const auto drop = [&](const at::Tensor& t) {
      return mask.defined() ? at::native_dropout_backward(t, mask, survivor) : t;
    };
    at::Tensor dlow;  // (n, rank)
    if (ctx->needs_input_grad(1) || ctx->needs_input_grad(2)) dlow = scaled_mm(drows, B, scale);
    if (ctx->needs_input_grad(1)) dx = drop(at::mm(dlow, A)).view_as(x);  // (n, in_features)
    if (ctx->needs_input_grad(2)) dA = at::mm(dlow.t(), drop(as_rows(x)));
    if (ctx->needs_input_grad(3)) dB = scaled_mm(drows.t(), low, scale);
    return {dy, dx, dA, dB, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

// Eight kernels forward where the formula in tensor code takes twelve, eleven backward where autograd takes over
// twenty: at small sizes what starts them sets the pace.
class AddDora : public torch::autograd::Function<AddDora> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, at::Tensor y, const at::Tensor& x,
                            const at::Tensor& W, const at::Tensor& A, const at::Tensor& B, const at::Tensor& factor,
                            double scale, int64_t row_begin, double dropout) {
    auto [dropped, mask] = at::native_dropout(as_rows(x), dropout, /*train=*/true);  // (n, in_features)
    // From fp32: a factor near 1 less 1 has no digits left in bf16.
    const at::Tensor of_base = (factor - 1).to(x.scalar_type()), of_low = (factor * scale).to(x.scalar_type());
    const at::Tensor base = at::mm(dropped, W.t());  // (n, rows)
    const at::Tensor low = at::mm(dropped, A.t());   // (n, rank)
    const at::Tensor change = at::mm(low, B.t());    // (n, rows)
    auto rows = y.view({-1, y.size(-1)}).narrow(1, row_begin, B.size(0));
    rows.addcmul_(base, of_base).addcmul_(change, of_low);
    ctx->mark_dirty({y});
    // What the factor multiplies, for its gradient.
    const at::Tensor whole = factor.requires_grad() ? at::add(base, change, scale) : at::Tensor();
    ctx->save_for_backward({x, W, A, B, low, mask, of_base, of_low, whole});
    ctx->saved_data["factor_dtype"] = static_cast<int64_t>(factor.scalar_type());
    ctx->saved_data["row_begin"] = row_begin;
    ctx->saved_data["survivor"] = 1.0 / (1.0 - dropout);
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &W = saved[1], &A = saved[2], &B = saved[3], &low = saved[4], &mask = saved[5],
                     &of_base = saved[6], &of_low = saved[7], &whole = saved[8];
    const double survivor = ctx->saved_data["survivor"].toDouble();
    const auto factor_dtype = static_cast<at::ScalarType>(ctx->saved_data["factor_dtype"].toInt());
    const at::Tensor& dy = grads[0];  // (..., out_features)
    const at::Tensor drows = as_rows(dy).narrow(1, ctx->saved_data["row_begin"].toInt(), B.size(0));  // (n, rows)
    const auto drop = [&](const at::Tensor& t) { return at::native_dropout_backward(t, mask, survivor); };
    const auto wants = [&](size_t input) { return ctx->needs_input_grad(input); };

    at::Tensor dx, dW, dA, dB, dfactor, dbase, dchange, dlow;
    if (wants(1) || wants(2)) dbase = drows * of_base;                                  // (n, rows)
    if (wants(1) || wants(3) || wants(4)) dchange = drows * of_low;                     // (n, rows)
    if (wants(1) || wants(3)) dlow = at::mm(dchange, B);                                // (n, rank)
    if (wants(1)) dx = drop(at::mm(dbase, W).addmm_(dlow, A)).view_as(x);               // (n, in_features)
    const at::Tensor dropped = wants(2) || wants(3) ? drop(as_rows(x)) : at::Tensor();  // again, instead of keeping it
    if (wants(2)) dW = at::mm(dbase.t(), dropped);
    if (wants(3)) dA = at::mm(dlow.t(), dropped);
    if (wants(4)) dB = at::mm(dchange.t(), low);
    if (wants(5)) dfactor = (drows * whole).sum(0, /*keepdim=*/false, factor_dtype);
    return {dy, dx, dW, dA, dB, dfactor, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

at::Tensor add_low_rank(at::Tensor y, const at::Tensor& x, const at::Tensor& A, const at::Tensor& B, double scale,
                        int64_t row_begin, double dropout) {
  return AddLowRank::apply(std::move(y), x, A, B, scale, row_begin, dropout);
}

at::Tensor add_dora(at::Tensor y, const at::Tensor& x, const at::Tensor& W, const at::Tensor& A, const at::Tensor& B,
                    const at::Tensor& factor, double scale, int64_t row_begin, double dropout) {
  return AddDora::apply(std::move(y), x, W, A, B, factor, scale, row_begin, dropout);
}

}  // namespace mpeft::peft
