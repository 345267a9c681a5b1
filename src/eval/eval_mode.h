#pragma once

#include <ATen/core/grad_mode.h>

#include "mpeft/model/mamba_lm.h"

namespace mpeft::eval {

/// No gradients and no dropout while it lives; the model's mode comes back afterwards, exceptions included.
class EvalMode {
 public:
  explicit EvalMode(model::MambaLM& model) : model_(model), was_training_(model->is_training()) { model_->eval(); }
  ~EvalMode() { model_->train(was_training_); }
  EvalMode(const EvalMode&) = delete;
  EvalMode& operator=(const EvalMode&) = delete;

 private:
  at::NoGradGuard no_grad_;
  model::MambaLM& model_;
  bool was_training_;
};

}  // namespace mpeft::eval
