#include "peft/low_rank.h"

#include <algorithm>

#include <ATen/ops/add.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/native_dropout.h>
#include <ATen/ops/native_dropout_backward.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

namespace mpeft::peft {
namespace {

// a b in `dtype`: on a GPU the product itself writes it, without a kernel that converts.
at::Tensor mm_as(const at::Tensor& a, const at::Tensor& b, at::ScalarType dtype) {
  if (a.scalar_type() == dtype) return at::mm(a, b);
  const bool widens = dtype == at::kFloat && at::isReducedFloatingType(a.scalar_type());
  return a.is_cuda() && widens ? at::mm(a, b, dtype) : at::mm(a, b).to(dtype);
}

/// Where the pairs lie in the matrices that hold them all: A's one above the other, B's on the diagonal.
struct PairLayout {
  std::vector<double> scales;
  std::vector<int64_t> row_begins, rows, ranks;
  int64_t begin = 0, end = 0;  // rows of y from the first pair's to the last's
  int64_t rank = 0;            // sum, on a GPU padded: its matrix units want 16 bytes

  PairLayout(const std::vector<LowRankPair>& pairs, bool on_gpu) {
    for (const auto& pair : pairs) {
      scales.push_back(pair.scale);
      row_begins.push_back(pair.row_begin);
      rows.push_back(pair.B.size(0));
      ranks.push_back(pair.B.size(1));
      begin = row_begins.size() == 1 ? pair.row_begin : std::min(begin, pair.row_begin);
      end = std::max(end, pair.row_begin + pair.B.size(0));
      rank += pair.B.size(1);
    }
    if (on_gpu) rank = (rank + 7) / 8 * 8;
  }

  size_t size() const { return ranks.size(); }
  bool is_one_pair() const { return size() == 1 && rank == ranks[0]; }
};

at::Tensor scaled(const at::Tensor& t, double scale) { return scale == 1.0 ? t : t * scale; }

// (rank, in_features) of all pairs, in `dtype`.
at::Tensor stack_A(const PairLayout& layout, at::TensorList A, at::ScalarType dtype) {
  if (layout.is_one_pair()) return A[0].to(dtype);
  std::vector<at::Tensor> parts = A.vec();
  int64_t n = 0;
  for (const int64_t rank : layout.ranks) n += rank;
  if (n < layout.rank) parts.push_back(at::zeros({layout.rank - n, A[0].size(1)}, A[0].options()));
  return at::cat(parts).to(dtype);
}

// (end - begin, rank): scale B of each pair, zero where a row of one meets the rank of another.
at::Tensor stack_B(const PairLayout& layout, at::TensorList B, at::ScalarType dtype) {
  if (layout.is_one_pair()) return scaled(B[0], layout.scales[0]).to(dtype);
  const at::Tensor all = at::zeros({layout.end - layout.begin, layout.rank}, B[0].options().dtype(dtype));
  int64_t column = 0;
  for (size_t i = 0; i < layout.size(); ++i) {
    all.narrow(0, layout.row_begins[i] - layout.begin, layout.rows[i])
        .narrow(1, column, layout.ranks[i])
        .copy_(scaled(B[i], layout.scales[i]));
    column += layout.ranks[i];
  }
  return all;
}

// One in-place GEMM onto the rows instead of autograd's slice, add and concatenation: the base projection's output is
// written once and never copied. Several pairs take as many kernels as one: small models' time is that of kernels
// which come one after the other.
class AddLowRank : public torch::autograd::Function<AddLowRank> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, at::Tensor y, const at::Tensor& x, at::TensorList A,
                            at::TensorList B, const PairLayout& layout, double dropout) {
    const auto dtype = x.scalar_type();
    const at::Tensor all_A = stack_A(layout, A, dtype), all_B = stack_B(layout, B, dtype);
    at::Tensor dropped = as_rows(x), mask;  // (n, in_features)
    if (dropout > 0) std::tie(dropped, mask) = at::native_dropout(dropped, dropout, /*train=*/true);
    const at::Tensor low = at::mm(dropped, all_A.t());                                        // (n, rank)
    auto rows = y.view({-1, y.size(-1)}).narrow(1, layout.begin, layout.end - layout.begin);  // a view of y
    rows.addmm_(low, all_B.t());
    ctx->mark_dirty({y});
    ctx->save_for_backward({x, all_A, all_B, low, mask});
    ctx->saved_data["dropout"] = dropout;
    ctx->saved_data["dtype"] = static_cast<int64_t>(A[0].scalar_type());
    // A node keeps lists and numbers.
    ctx->saved_data["scales"] = layout.scales;
    ctx->saved_data["row_begins"] = layout.row_begins;
    ctx->saved_data["rows"] = layout.rows;
    ctx->saved_data["ranks"] = layout.ranks;
    ctx->saved_data["begin"] = layout.begin;
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &all_A = saved[1], &all_B = saved[2], &low = saved[3], &mask = saved[4];
    const double dropout = ctx->saved_data["dropout"].toDouble();
    const auto dtype = static_cast<at::ScalarType>(ctx->saved_data["dtype"].toInt());
    const auto scales = ctx->saved_data["scales"].toDoubleVector();
    const auto row_begins = ctx->saved_data["row_begins"].toIntVector(), rows = ctx->saved_data["rows"].toIntVector(),
               ranks = ctx->saved_data["ranks"].toIntVector();
    const int64_t begin = ctx->saved_data["begin"].toInt();
    const at::Tensor& dy = grads[0];                                       // (..., out_features)
    const at::Tensor drows = as_rows(dy).narrow(1, begin, all_B.size(0));  // (n, end - begin)
    const double survivor = dropout > 0 ? 1.0 / (1.0 - dropout) : 1.0;
    // The derivative of dropout multiplies by its mask, and so does dropout itself: one kernel for either.
    const auto drop = [&](const at::Tensor& t) {
      return mask.defined() ? at::native_dropout_backward(t, mask, survivor) : t;
    };
    const size_t n = ranks.size();
    bool any_A = false, any_B = false;
    for (size_t i = 0; i < n; ++i) {
      any_A = any_A || ctx->needs_input_grad(2 + i);
      any_B = any_B || ctx->needs_input_grad(2 + n + i);
    }

    at::Tensor dx, dlow, dA, dB;
    if (ctx->needs_input_grad(1) || any_A) dlow = at::mm(drows, all_B);       // (n, rank)
    if (ctx->needs_input_grad(1)) dx = drop(at::mm(dlow, all_A)).view_as(x);  // (n, in_features)
    if (any_A) dA = mm_as(dlow.t(), drop(as_rows(x)), dtype);                 // (rank, in_features)
    if (any_B) dB = mm_as(drows.t(), low, dtype);                             // (end - begin, rank)

    torch::autograd::variable_list result(2 + 2 * n + 2);  // y, x, A's, B's, layout, dropout
    result[0] = dy;
    result[1] = dx;
    int64_t column = 0;
    for (size_t i = 0; i < n; ++i) {
      if (ctx->needs_input_grad(2 + i)) result[2 + i] = dA.narrow(0, column, ranks[i]);
      if (ctx->needs_input_grad(2 + n + i)) {
        result[2 + n + i] = scaled(dB.narrow(0, row_begins[i] - begin, rows[i]).narrow(1, column, ranks[i]), scales[i]);
      }
      column += ranks[i];
    }
    return result;
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

at::Tensor add_low_rank(at::Tensor y, const at::Tensor& x, const std::vector<LowRankPair>& pairs, double dropout) {
  std::vector<at::Tensor> A, B;
  for (const auto& pair : pairs) {
    A.push_back(pair.A);
    B.push_back(pair.B);
  }
  const PairLayout layout(pairs, x.is_cuda());
  return AddLowRank::apply(std::move(y), x, at::TensorList(A), at::TensorList(B), layout, dropout);
}

at::Tensor add_dora(at::Tensor y, const at::Tensor& x, const at::Tensor& W, const at::Tensor& A, const at::Tensor& B,
                    const at::Tensor& factor, double scale, int64_t row_begin, double dropout) {
  return AddDora::apply(std::move(y), x, W, A, B, factor, scale, row_begin, dropout);
}

}  // namespace mpeft::peft
