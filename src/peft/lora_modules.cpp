#include "peft/lora_modules.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/slice_scatter.h>
#include <ATen/ops/zeros.h>

#include "mpeft/core/check.h"

namespace mpeft::peft {
namespace {

at::ScalarType wide(at::ScalarType dtype) { return dtype == at::kDouble ? at::kDouble : at::kFloat; }

at::Tensor row_squares(const at::Tensor& weight) {
  return at::linalg_vector_norm(weight, 2, /*dim=*/1, /*keepdim=*/false, wide(weight.scalar_type())).square();
}

// The adapted weight in fp64: a merged model should differ from the adapted one by the rounding of its own weights
// alone. W (rows, in_features); `magnitude` is undefined without DoRA.
at::Tensor adapted(const at::Tensor& W, const at::Tensor& A, const at::Tensor& B, double scale,
                   const at::Tensor& magnitude) {
  const at::Tensor sum = W.to(at::kDouble) + at::mm(B.to(at::kDouble), A.to(at::kDouble)).mul_(scale);
  if (!magnitude.defined()) return sum;
  return sum * (magnitude.to(at::kDouble) / at::linalg_vector_norm(sum, 2, /*dim=*/1)).unsqueeze(1);
}

}  // namespace

at::Tensor adapted_row_norms(const at::Tensor& squares, const at::Tensor& W, const at::Tensor& A, const at::Tensor& B,
                             double scale) {
  const auto dtype = squares.scalar_type();
  const at::Tensor narrow_A = A.to(W.scalar_type());
  const at::Tensor wide_A = A.to(dtype), wide_B = B.to(dtype);
  const at::Tensor mixed = at::mm(W, narrow_A.t()).to(dtype);  // (rows, rank)
  const at::Tensor both =
      at::addmm(mixed, wide_B, at::mm(wide_A, wide_A.t()), /*beta=*/2 * scale, /*alpha=*/scale * scale);
  return both.mul_(wide_B).sum(1).add_(squares).clamp_min_(0).sqrt_();
}

LoraProjection::LoraProjection(const LoraShape& shape, const model::ProjectionImpl* base) : shape_(shape), base_(base) {
  lora_A = register_parameter("lora_A", at::zeros({shape.rank, shape.in_features}));
  lora_B = register_parameter("lora_B", at::zeros({shape.out_features, shape.rank}));
  if (shape.use_dora)
    lora_magnitude_vector = register_parameter("lora_magnitude_vector", at::zeros({shape.out_features}));
}

at::Tensor LoraProjection::base_rows() const { return base_->weight.narrow(0, shape_.row_begin, shape_.out_features); }

at::Tensor LoraProjection::forward(const at::Tensor& x, at::Tensor y) {
  const double dropout = is_training() ? shape_.dropout : 0.0;
  if (shape_.use_dora) return forward_dora(x, y, dropout);
  if (is_led_) return y;
  std::vector<LowRankPair> pairs{pair()};
  for (const auto* other : led_) pairs.push_back(other->pair());
  return add_low_rank(std::move(y), x, pairs, dropout);
}

void LoraProjection::lead(std::vector<LoraProjection*> others) {
  MPEFT_ASSERT(!shape_.use_dora && !is_led_, "this adapter cannot compute for others");
  led_ = std::move(others);
  for (auto* other : led_) {
    MPEFT_ASSERT(other->base_ == base_ && !other->shape_.use_dora && other->led_.empty() &&
                     other->shape_.dropout == shape_.dropout,
                 "these adapters cannot be computed together");
    other->is_led_ = true;
  }
}

at::Tensor LoraProjection::row_norms() const {
  const torch::NoGradGuard no_grad;
  const at::Tensor W = base_rows();
  if (base_squares_of_ != W.const_data_ptr() || !base_squares_.defined() ||
      base_squares_.scalar_type() != wide(W.scalar_type())) {
    base_squares_ = row_squares(W);
    base_squares_of_ = W.const_data_ptr();
  }
  return adapted_row_norms(base_squares_, W, lora_A, lora_B, shape_.scale);
}

at::Tensor LoraProjection::norms_for_forward() const {
  if (is_training() || at::GradMode::is_enabled()) return row_norms();
  const std::pair<int64_t, int64_t> versions(lora_A._version(), lora_B._version());
  if (!norms_.defined() || norms_versions_ != versions) {
    norms_ = row_norms();
    norms_versions_ = versions;
  }
  return norms_;
}

void LoraProjection::train(bool on) {
  Module::train(on);
  norms_.reset();
}

at::Tensor LoraProjection::forward_dora(const at::Tensor& x, const at::Tensor& y, double dropout) const {
  const auto dtype = x.scalar_type();
  const int64_t begin = shape_.row_begin, end = begin + shape_.out_features;
  const at::Tensor factor = lora_magnitude_vector / norms_for_forward();  // (out_features), fp32
  if (dropout > 0) {
    return add_dora(y, x, base_rows().to(dtype), lora_A.to(dtype), lora_B.to(dtype), factor, shape_.scale, begin,
                    dropout);
  }

  const bool is_whole = shape_.out_features == y.size(-1);
  const bool has_bias = base_->bias.defined() && !base_->options().defer_bias;
  at::Tensor b;
  if (has_bias) b = base_->bias.narrow(0, begin, shape_.out_features).to(dtype);
  const at::Tensor sum = add_low_rank(y, x, {pair()}, /*dropout=*/0.0);
  const at::Tensor own = sum.narrow(-1, begin, shape_.out_features);
  const at::Tensor narrow_factor = factor.to(dtype);
  const at::Tensor rows = has_bias ? (own - b) * narrow_factor + b : own * narrow_factor;  // (..., out_features)
  return is_whole ? rows : at::slice_scatter(y, rows, -1, begin, end);
}

at::Tensor LoraProjection::weight_delta() const {
  const at::Tensor W = base_rows();
  const at::Tensor rows = shape_.use_dora ? adapted(W, lora_A, lora_B, shape_.scale, lora_magnitude_vector) - W
                                          : at::mm(lora_B.to(at::kDouble), lora_A.to(at::kDouble)).mul_(shape_.scale);
  at::Tensor delta =
      at::zeros({base_->options().out_features, shape_.in_features}, lora_A.options().dtype(wide(W.scalar_type())));
  delta.narrow(0, shape_.row_begin, shape_.out_features).copy_(rows);
  return delta;
}

LoraEmbedding::LoraEmbedding(const LoraShape& shape, const model::EmbeddingImpl* base) : shape_(shape), base_(base) {
  lora_embedding_A = register_parameter("lora_embedding_A", at::zeros({shape.rank, shape.in_features}));
  lora_embedding_B = register_parameter("lora_embedding_B", at::zeros({shape.out_features, shape.rank}));
  if (shape.use_dora)
    lora_magnitude_vector = register_parameter("lora_magnitude_vector", at::zeros({shape.out_features}));
}

at::Tensor LoraEmbedding::column_norms() const {
  const torch::NoGradGuard no_grad;
  const at::Tensor table = base_->weight.t();  // (d_model, vocab_size)
  return adapted_row_norms(row_squares(table), table, lora_embedding_A, lora_embedding_B, shape_.scale);
}

at::Tensor LoraEmbedding::forward(const at::Tensor& ids, at::ScalarType dtype) {
  const at::Tensor low = at::embedding(lora_embedding_A.t(), ids);                    // (..., rank), fp32
  const at::Tensor change = at::matmul(low, lora_embedding_B.t()).mul(shape_.scale);  // (..., d_model)
  if (!shape_.use_dora) return change.to(dtype);
  const at::Tensor factor = lora_magnitude_vector / column_norms();  // (d_model)
  return (at::embedding(base_->weight, ids) * (factor - 1) + change * factor).to(dtype);
}

at::Tensor LoraEmbedding::weight_delta() const {
  const at::Tensor table = base_->weight.t();  // (d_model, vocab_size)
  if (!shape_.use_dora) {
    return at::mm(lora_embedding_A.t().to(at::kDouble), lora_embedding_B.t().to(at::kDouble))
        .mul_(shape_.scale)
        .to(wide(table.scalar_type()));
  }
  const at::Tensor sum =
      adapted(table, lora_embedding_A, lora_embedding_B, shape_.scale, lora_magnitude_vector) - table;
  return sum.t().to(wide(table.scalar_type())).contiguous();
}

LoraConv::LoraConv(const LoraShape& shape) : shape_(shape) {
  lora_A = register_parameter("lora_A", at::zeros({shape.rank, shape.in_features}));
  lora_B = register_parameter("lora_B", at::zeros({shape.out_features, shape.rank}));
  if (shape.use_dora)
    lora_magnitude_vector = register_parameter("lora_magnitude_vector", at::zeros({shape.out_features}));
}

at::Tensor LoraConv::adapt(const at::Tensor& weight) {
  const auto dtype = weight.scalar_type();
  const at::Tensor sum = weight + at::mm(lora_B.to(dtype), lora_A.to(dtype)) * shape_.scale;
  if (!shape_.use_dora) return sum;
  const at::Tensor norms = at::linalg_vector_norm(sum.detach(), 2, /*dim=*/1);
  return sum * (lora_magnitude_vector.to(dtype) / norms).unsqueeze(1);
}

}  // namespace mpeft::peft
