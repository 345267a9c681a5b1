#pragma once

#include <utility>
#include <vector>

#include <torch/nn/module.h>

#include "mpeft/model/embedding.h"
#include "mpeft/model/mamba_mixer.h"
#include "mpeft/model/projection.h"

#include "peft/low_rank.h"

namespace mpeft::peft {

/// The low-rank pair of one target and how it is scaled.
struct LoraShape {
  int64_t in_features = 0;
  int64_t out_features = 0;
  int64_t rank = 8;
  double scale = 1.0;     ///< alpha / rank, or alpha / sqrt(rank) with rsLoRA
  double dropout = 0.0;   ///< on the input, while training
  int64_t row_begin = 0;  ///< first row of the projection that the target covers
  bool use_dora = false;  ///< the module gets a lora_magnitude_vector
};

/// LoRA on a projection or on a slice of its rows (Hu et al. 2021): y += scale * dropout(x) A^T B^T. With DoRA (Liu et
/// al. 2024) the rows become m (W + scale B A) / ||W + scale B A||, the norm of each row a constant of the gradient;
/// with dropout as Hugging Face PEFT: y = x W^T + dropout(x) ((m / ||…|| - 1) W + m / ||…|| scale B A)^T.
/// Several on slices of one projection read the same x: one of them computes the parts of all (without DoRA), which
/// then share a dropout mask, as one LoRA on the whole projection does.
class LoraProjection : public torch::nn::Module, public model::ProjectionAdapter {
 public:
  /// `base`: the projection that it is attached to, which outlives it.
  LoraProjection(const LoraShape& shape, const model::ProjectionImpl* base);
  at::Tensor forward(const at::Tensor& x, at::Tensor y) override;
  at::Tensor weight_delta() const override;
  void train(bool on = true) override;

  /// Makes this module compute the parts of `others` too: of the same projection, dropout and lifetime, without DoRA.
  void lead(std::vector<LoraProjection*> others);

  const LoraShape& shape() const { return shape_; }
  /// The norm of each row of W + scale B A: (out_features) fp32, or fp64 with an fp64 weight; without a gradient.
  at::Tensor row_norms() const;

  at::Tensor lora_A;                 ///< (rank, in_features)
  at::Tensor lora_B;                 ///< (out_features, rank)
  at::Tensor lora_magnitude_vector;  ///< (out_features); undefined without DoRA

 private:
  LowRankPair pair() const { return {lora_A, lora_B, shape_.scale, shape_.row_begin}; }
  at::Tensor base_rows() const;
  at::Tensor norms_for_forward() const;
  at::Tensor forward_dora(const at::Tensor& x, const at::Tensor& y, double dropout) const;

  LoraShape shape_;
  const model::ProjectionImpl* base_;
  std::vector<LoraProjection*> led_;
  bool is_led_ = false;
  mutable at::Tensor base_squares_;  // of base_rows(): a row's sum of squares, kept because the base is frozen
  mutable const void* base_squares_of_ = nullptr;
  // While generating the norms are those of the last call. Training moves A and B behind their versions (they are views
  // of the optimizer's buffers), and always ends with a call of train().
  mutable at::Tensor norms_;
  mutable std::pair<int64_t, int64_t> norms_versions_;
};

/// LoRA on the embedding: h += scale * B A[:, ids] (A starts at zero, B normal, no dropout: as Hugging Face PEFT). With
/// DoRA the magnitude is one of each of the d_model columns of the table.
class LoraEmbedding : public torch::nn::Module, public model::EmbeddingAdapter {
 public:
  LoraEmbedding(const LoraShape& shape, const model::EmbeddingImpl* base);
  at::Tensor forward(const at::Tensor& ids, at::ScalarType dtype) override;
  at::Tensor weight_delta() const override;

  const LoraShape& shape() const { return shape_; }
  /// The norm of each column of the adapted table: (d_model) fp32 or fp64; without a gradient.
  at::Tensor column_norms() const;

  at::Tensor lora_embedding_A;       ///< (rank, vocab_size)
  at::Tensor lora_embedding_B;       ///< (d_model, rank)
  at::Tensor lora_magnitude_vector;  ///< (d_model); undefined without DoRA

 private:
  LoraShape shape_;
  const model::EmbeddingImpl* base_;
};

/// LoRA on the depthwise convolution, whose weight is taken as the matrix (d_inner, d_conv): W + scale B A. The change
/// is folded into the weight, so there is no dropout. With DoRA each channel has a magnitude.
class LoraConv : public torch::nn::Module, public model::ConvAdapter {
 public:
  explicit LoraConv(const LoraShape& shape);
  at::Tensor adapt(const at::Tensor& weight) override;

  at::Tensor lora_A;                 ///< (rank, d_conv)
  at::Tensor lora_B;                 ///< (d_inner, rank)
  at::Tensor lora_magnitude_vector;  ///< (d_inner); undefined without DoRA

 private:
  LoraShape shape_;
};

/// The norm of each row of W + scale B A from the sums of squares of W's rows: without the sum itself, whose size is
/// that of W. squares (rows), W (rows, in), A (rank, in), B (rows, rank).
at::Tensor adapted_row_norms(const at::Tensor& squares, const at::Tensor& W, const at::Tensor& A, const at::Tensor& B,
                             double scale);

}  // namespace mpeft::peft
