#pragma once

#include <torch/nn/module.h>

#include "mpeft/model/embedding.h"
#include "mpeft/model/projection.h"

namespace mpeft::peft {

/// The low-rank pair of one target and how it is scaled.
struct LoraShape {
  int64_t in_features = 0;
  int64_t out_features = 0;
  int64_t rank = 8;
  double scale = 1.0;     ///< alpha / rank, or alpha / sqrt(rank) with rsLoRA
  double dropout = 0.0;   ///< on the input, while training
  int64_t row_begin = 0;  ///< first row of the projection that the target covers
};

/// LoRA on a projection or on a slice of its rows (Hu et al. 2021): y += scale * dropout(x) A^T B^T.
class LoraProjection : public torch::nn::Module, public model::ProjectionAdapter {
 public:
  /// `total_rows`: out_features of the whole projection.
  LoraProjection(const LoraShape& shape, int64_t total_rows);
  at::Tensor forward(const at::Tensor& x, at::Tensor y) override;
  at::Tensor weight_delta() const override;

  at::Tensor lora_A;  ///< (rank, in_features)
  at::Tensor lora_B;  ///< (out_features, rank)

 private:
  LoraShape shape_;
  int64_t total_rows_;
};

/// LoRA on the embedding: h += scale * B A[:, ids] (A starts at zero, B normal, no dropout: as Hugging Face PEFT).
class LoraEmbedding : public torch::nn::Module, public model::EmbeddingAdapter {
 public:
  explicit LoraEmbedding(const LoraShape& shape);
  at::Tensor forward(const at::Tensor& ids, at::ScalarType dtype) override;
  at::Tensor weight_delta() const override;

  at::Tensor lora_embedding_A;  ///< (rank, vocab_size)
  at::Tensor lora_embedding_B;  ///< (d_model, rank)

 private:
  LoraShape shape_;
};

}  // namespace mpeft::peft
