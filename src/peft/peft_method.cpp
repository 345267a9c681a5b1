#include "mpeft/peft/peft_method.h"

#include <algorithm>

#include "mpeft/core/check.h"

#include "peft/start_states.h"

namespace mpeft::peft {

std::optional<checkpoint::AdapterFolder> PeftMethod::to_peft(model::MambaLM& /*model*/,
                                                             const std::string& /*base_model*/) const {
  return std::nullopt;
}

checkpoint::TensorMap PeftMethod::export_state(model::MambaLM& model) const {
  if (amounts_to_start_states()) return start_states(model);
  checkpoint::TensorMap tensors;
  for (const auto& parameter : parameters()) tensors.emplace(parameter.name, parameter.tensor.detach());
  return tensors;
}

std::vector<NamedParameter> trained_parameters(model::MambaLM& model, const PeftMethod* method) {
  const auto described = method != nullptr ? method->parameters() : std::vector<NamedParameter>();
  std::vector<NamedParameter> result;
  for (const auto& item : model->named_parameters()) {
    if (!item.value().requires_grad()) continue;
    NamedParameter parameter{item.key(), item.value(), item.key()};
    if (method != nullptr) {
      const auto it = std::find_if(described.begin(), described.end(),
                                   [&](const NamedParameter& d) { return d.tensor.is_same(item.value()); });
      MPEFT_ASSERT(it != described.end(), item.key() + " trains, but the method does not list it");
      parameter = *it;
      parameter.name = item.key();
    }
    result.push_back(std::move(parameter));
  }
  MPEFT_ASSERT(method == nullptr || result.size() == described.size(), "a parameter of the method is not in the model");
  return result;
}

}  // namespace mpeft::peft
