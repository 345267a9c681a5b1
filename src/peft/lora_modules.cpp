#include "peft/lora_modules.h"

#include <ATen/ops/embedding.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>

#include "peft/low_rank.h"

namespace mpeft::peft {

LoraProjection::LoraProjection(const LoraShape& shape, int64_t total_rows) : shape_(shape), total_rows_(total_rows) {
  lora_A = register_parameter("lora_A", at::zeros({shape.rank, shape.in_features}));
  lora_B = register_parameter("lora_B", at::zeros({shape.out_features, shape.rank}));
}

at::Tensor LoraProjection::forward(const at::Tensor& x, at::Tensor y) {
  const double dropout = is_training() ? shape_.dropout : 0.0;
  return add_low_rank(std::move(y), x, lora_A.to(x.scalar_type()), lora_B.to(x.scalar_type()), shape_.scale,
                      shape_.row_begin, dropout);
}

at::Tensor LoraProjection::weight_delta() const {
  // In fp64: a merged model should differ from the adapted one by the rounding of its own weights alone.
  const at::Tensor rows = at::mm(lora_B.to(at::kDouble), lora_A.to(at::kDouble)).mul_(shape_.scale);
  at::Tensor delta = at::zeros({total_rows_, shape_.in_features}, lora_A.options().dtype(at::kFloat));
  delta.narrow(0, shape_.row_begin, shape_.out_features).copy_(rows);
  return delta;
}

LoraEmbedding::LoraEmbedding(const LoraShape& shape) : shape_(shape) {
  lora_embedding_A = register_parameter("lora_embedding_A", at::zeros({shape.rank, shape.in_features}));
  lora_embedding_B = register_parameter("lora_embedding_B", at::zeros({shape.out_features, shape.rank}));
}

at::Tensor LoraEmbedding::forward(const at::Tensor& ids, at::ScalarType dtype) {
  const at::Tensor low = at::embedding(lora_embedding_A.t(), ids);           // (..., rank), fp32
  return at::matmul(low, lora_embedding_B.t()).mul(shape_.scale).to(dtype);  // (..., d_model)
}

at::Tensor LoraEmbedding::weight_delta() const {
  return at::mm(lora_embedding_A.t().to(at::kDouble), lora_embedding_B.t().to(at::kDouble))
      .mul_(shape_.scale)
      .to(at::kFloat);
}

}  // namespace mpeft::peft
