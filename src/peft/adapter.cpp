#include "mpeft/peft/adapter.h"

#include <set>

#include "mpeft/checkpoint/safetensors.h"
#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"
#include "mpeft/core/strings.h"

namespace mpeft::peft {
namespace {

constexpr const char* kConfigFile = "adapter_config.json";
constexpr const char* kWeightsFile = "adapter_model.safetensors";
constexpr uint64_t kMaxConfigBytes = 4 << 20;

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
  checkpoint::TensorMap tensors;
  for (const auto& [name, tensor] : method.parameters()) tensors.emplace(name, tensor.detach());
  fs::write_folder_atomic(folder, [&](const fs::Path& temporary) {
    fs::write_file_atomic(temporary / kConfigFile, method.config_json(base_model));
    checkpoint::write_safetensors(temporary / kWeightsFile, tensors, {{"format", "pt"}});
  });
}

void load_parameters(const PeftMethod& method, const checkpoint::TensorMap& values, const std::string& where) {
  const torch::NoGradGuard no_grad;
  std::vector<std::string> problems;
  std::set<std::string> expected;
  for (auto [name, tensor] : method.parameters()) {
    expected.insert(name);
    const auto it = values.find(name);
    if (it == values.end()) {
      problems.push_back(mpeft::str("missing: ", name, " ", tensor.sizes()));
    } else if (it->second.sizes() != tensor.sizes()) {
      problems.push_back(
          mpeft::str("wrong shape: ", name, ": expected ", tensor.sizes(), ", found ", it->second.sizes()));
    } else {
      tensor.copy_(it->second);
    }
  }
  for (const auto& [name, tensor] : values) {
    if (!expected.contains(name)) problems.push_back(mpeft::str("unexpected: ", name, " ", tensor.sizes()));
  }
  if (!problems.empty()) {
    throw CheckpointError(mpeft::str(where, ": the tensors do not fit the adapter's configuration and this model (",
                                     problems.size(), " problems)\n  ", join(problems, "\n  ")));
  }
}

std::unique_ptr<PeftMethod> load_adapter(model::MambaLM& model, const std::filesystem::path& folder) {
  const auto config_path = folder / kConfigFile, weights_path = folder / kWeightsFile;
  if (!std::filesystem::exists(config_path)) {
    throw CheckpointError(mpeft::str(folder.string(), ": no ", kConfigFile, " there: not an adapter folder"));
  }
  if (!std::filesystem::exists(weights_path) && std::filesystem::exists(folder / "adapter_model.bin")) {
    throw CheckpointError(
        mpeft::str(folder.string(), ": adapter_model.bin is not read: save the adapter with safe_serialization=True"));
  }
  auto method = make_peft_method(fs::read_file(config_path, kMaxConfigBytes), config_path.string());
  method->inject(model, /*seed=*/0);  // every value is replaced below
  auto values = checkpoint::read_safetensors(weights_path);
  take_embedding_layers(model, *method, values);
  load_parameters(*method, values, weights_path.string());
  return method;
}

}  // namespace mpeft::peft
