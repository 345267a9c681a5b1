#include "peft/start_states.h"

#include "mpeft/core/strings.h"

namespace mpeft::peft {

checkpoint::TensorMap start_states(model::MambaLM& model) {
  const torch::NoGradGuard no_grad;
  const bool was_training = model->is_training();
  model->eval();  // no dropout in what is computed once and for all
  const auto states = model->start_state();
  model->train(was_training);
  checkpoint::TensorMap tensors;
  for (size_t i = 0; i < states.layers.size(); ++i) {
    const std::string path = mpeft::str("base_model.model.backbone.layers.", i, ".mixer.ssmpeft.");
    const auto& [conv, scan] = states.layers[i];
    tensors.emplace(path + kInitialStateName, scan[0].to(at::kFloat).contiguous());
    tensors.emplace(path + kConvStateName, conv[0].t().to(at::kFloat).contiguous());
  }
  return tensors;
}

}  // namespace mpeft::peft
