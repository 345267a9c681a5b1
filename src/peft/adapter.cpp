#include "mpeft/peft/adapter.h"

#include <set>

#include "mpeft/checkpoint/adapter_folder.h"
#include "mpeft/checkpoint/match_tensors.h"
#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

namespace mpeft::peft {
namespace {

// PEFT also writes the weight below an adapter on a head or an embedding, and both of them on demand
// (`save_embedding_layers`): what they were when the adapter was trained. They become the model's, as in PEFT, and
// leave `values`.
void take_embedding_layers(model::MambaLM& model, const PeftMethod& method, checkpoint::TensorMap& values) {
  std::set<std::string> trained;  // modules_to_save may name them
  for (const auto& parameter : method.parameters()) trained.insert(parameter.name);
  const std::pair<const char*, at::Tensor> layers[] = {
      {"backbone.embeddings", model->backbone->embeddings->weight},
      {"lm_head", model->lm_head->weight}};  // the embedding's where tied
  for (auto [path, weight] : layers) {
    for (const char* ending : {".weight", ".base_layer.weight"}) {
      const auto it = values.find(mpeft::str("base_model.model.", path, ending));
      if (it == values.end() || trained.contains(it->first)) continue;
      if (it->second.sizes() != weight.sizes() || !it->second.is_floating_point()) continue;  // reported as unexpected
      weight.set_data(it->second);
      values.erase(it);
    }
  }
}

}  // namespace

void save_adapter(const PeftMethod& method, const std::string& base_model, const std::filesystem::path& folder) {
  checkpoint::AdapterFolder adapter;
  adapter.config_json = method.config_json(base_model);
  for (const auto& parameter : method.parameters()) adapter.tensors.emplace(parameter.name, parameter.tensor.detach());
  checkpoint::write_adapter_folder(folder, adapter);
}

void load_parameters(const PeftMethod& method, const checkpoint::TensorMap& values, const std::string& where) {
  const torch::NoGradGuard no_grad;
  checkpoint::TensorShapes expected;
  for (const auto& parameter : method.parameters()) expected.emplace(parameter.name, parameter.tensor.sizes().vec());
  checkpoint::match_tensors(expected, values).throw_if_any(where);
  for (const auto& [name, value] : values) {
    if (value.is_floating_point()) continue;
    throw CheckpointError(mpeft::str(where, ": ", name, ": expected floating-point values, found ",
                                     c10::toString(value.scalar_type()), ": not the weights of an adapter"));
  }
  for (auto& parameter : method.parameters()) parameter.tensor.copy_(values.at(parameter.name));
}

std::unique_ptr<PeftMethod> load_adapter(model::MambaLM& model, const std::filesystem::path& folder) {
  auto saved = checkpoint::read_adapter_folder(folder);
  auto method = make_peft_method(saved.config_json, (folder / "adapter_config.json").string());
  method->inject(model, /*seed=*/0);  // every value is replaced below
  take_embedding_layers(model, *method, saved.tensors);
  // A parameter of the base that trains in place is saved in fp32 even where the checkpoint is not.
  for (auto& parameter : method->parameters()) {
    const at::Tensor& tensor = parameter.tensor;
    if (at::isReducedFloatingType(tensor.scalar_type())) parameter.tensor.set_data(tensor.detach().to(at::kFloat));
  }
  load_parameters(*method, saved.tensors, folder.string());
  return method;
}

}  // namespace mpeft::peft
