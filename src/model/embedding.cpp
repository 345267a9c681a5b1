#include "mpeft/model/embedding.h"

#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>

#include "mpeft/core/error.h"

namespace mpeft::model {

EmbeddingImpl::EmbeddingImpl(int64_t vocab_size, int64_t d_model) {
  weight = register_parameter("weight", at::empty({vocab_size, d_model}), /*requires_grad=*/false);
}

at::Tensor EmbeddingImpl::forward(const at::Tensor& ids, at::ScalarType dtype) {
  at::Tensor hidden = at::embedding(weight, ids).to(dtype);  // (..., d_model)
  if (adapter_) hidden = hidden + adapter_->forward(ids, dtype);
  return hidden;
}

void EmbeddingImpl::attach(std::shared_ptr<EmbeddingAdapter> adapter, std::shared_ptr<torch::nn::Module> module) {
  if (adapter_) throw ConfigError("embeddings: has an adapter already");
  register_module("embeddings", std::move(module));
  adapter_ = std::move(adapter);
}

void EmbeddingImpl::merge_adapters() {
  if (!adapter_) return;
  const torch::NoGradGuard no_grad;
  const at::Tensor merged = weight.to(at::kFloat) + adapter_->weight_delta().to(weight.device());
  weight.set_data(merged.to(weight.scalar_type()));
  unregister_module("embeddings");
  adapter_.reset();
}

}  // namespace mpeft::model
