#pragma once

#include <memory>

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

namespace mpeft::model {

/// What a PEFT method puts on the embedding.
class EmbeddingAdapter {
 public:
  virtual ~EmbeddingAdapter() = default;
  /// What is added to the embeddings of `ids`: (...) -> (..., d_model), in `dtype`.
  virtual at::Tensor forward(const at::Tensor& ids, at::ScalarType dtype) = 0;
  /// What merging adds to the table, fp32 (vocab_size, d_model).
  virtual at::Tensor weight_delta() const = 0;
};

/// Token embedding: ids (...) int64 -> (..., d_model).
class EmbeddingImpl : public torch::nn::Module {
 public:
  EmbeddingImpl(int64_t vocab_size, int64_t d_model);
  /// In `dtype`, whatever the table is kept in.
  at::Tensor forward(const at::Tensor& ids, at::ScalarType dtype);
  void attach(std::shared_ptr<EmbeddingAdapter> adapter, std::shared_ptr<torch::nn::Module> module);
  void merge_adapters();

  at::Tensor weight;  ///< (vocab_size, d_model)

 private:
  std::shared_ptr<EmbeddingAdapter> adapter_;
};
TORCH_MODULE(Embedding);

}  // namespace mpeft::model
