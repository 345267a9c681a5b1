#include "mpeft/peft/peft_method.h"

#include <algorithm>
#include <set>

#include "mpeft/core/check.h"

#include "peft/base_parameters.h"
#include "peft/start_states.h"

namespace mpeft::peft {
namespace {

// Those that weight decay, which pulls to zero, leaves alone: biases and norms, as in transformers' Trainer, and A_log
// and D, which Mamba's own code marks so.
std::set<const void*> not_decayed(model::MambaLM& model) {
  std::set<const void*> tensors;
  for (const auto& base : list_base_parameters(model)) {
    if (base.tensor.dim() == 1 || base.path.ends_with(".A_log")) tensors.insert(base.tensor.unsafeGetTensorImpl());
  }
  return tensors;
}

}  // namespace

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
  const auto kept = not_decayed(model);
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
    if (kept.contains(item.value().unsafeGetTensorImpl())) parameter.weight_decay = false;
    result.push_back(std::move(parameter));
  }
  MPEFT_ASSERT(method == nullptr || result.size() == described.size(), "a parameter of the method is not in the model");
  return result;
}

}  // namespace mpeft::peft
