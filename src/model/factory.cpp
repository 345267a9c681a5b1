#include "mpeft/model/factory.h"

#include <set>

#include "mpeft/checkpoint/model_folder.h"
#include "mpeft/checkpoint/safetensors.h"
#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"
#include "mpeft/core/strings.h"
#include "mpeft/model/init.h"

namespace mpeft::model {
namespace {

constexpr uint64_t kMaxConfigBytes = 1 << 20;

// The YAML file of a size: a path that ends in .yaml, or the stem of a file in cfg/models beside the working folder or
// the installed tree. Empty when `what` is neither.
std::filesystem::path find_size_file(const std::string& what) {
  namespace sfs = std::filesystem;
  if (what.ends_with(".yaml") || what.ends_with(".yml")) return what;
  if (what.find('/') != std::string::npos) return {};
  const auto exe = fs::executable_folder();
  for (const sfs::path& root : {sfs::path("."), exe / "../share/mamba-peft", exe / "../../.."}) {
    const auto candidate = root / "cfg/models" / (what + ".yaml");
    if (sfs::exists(candidate)) return candidate.lexically_normal();
  }
  return {};
}

MambaConfig read_size_file(const std::filesystem::path& path) {
  config::Problems problems;
  const auto node = config::Node::from_file(path.string(), problems);
  const auto config = MambaConfig::from_yaml(node);
  node.report_unknown_keys();
  problems.throw_if_any();
  config.validate();
  return config;
}

MambaConfig read_folder_config(const std::filesystem::path& folder) {
  const auto path = folder / "config.json";
  return MambaConfig::from_json(fs::read_file(path, kMaxConfigBytes), path.string());
}

void load_weights(MambaLM& model, const std::filesystem::path& folder) {
  const torch::NoGradGuard no_grad;
  checkpoint::TensorMap found;
  for (auto& [name, tensor] : checkpoint::read_model_weights(folder)) {
    found.emplace(checkpoint::canonical_tensor_name(name), tensor);
  }
  if (model->config().tie_embeddings) found.erase("lm_head.weight");  // the tied head is the embedding

  std::vector<std::string> problems;
  std::set<std::string> expected;
  for (auto& item : model->named_parameters()) {
    expected.insert(item.key());
    const auto it = found.find(item.key());
    if (it == found.end()) {
      problems.push_back(mpeft::str("missing: ", item.key(), " ", item.value().sizes()));
    } else if (it->second.sizes() != item.value().sizes()) {
      problems.push_back(
          mpeft::str("wrong shape: ", item.key(), ": expected ", item.value().sizes(), ", found ", it->second.sizes()));
    } else if (!it->second.is_floating_point()) {
      problems.push_back(
          mpeft::str("wrong dtype: ", item.key(), ": ", it->second.scalar_type(), " is not a floating-point type"));
    } else {
      item.value().set_data(it->second);
    }
  }
  for (const auto& [name, tensor] : found) {
    if (!expected.contains(name)) problems.push_back(mpeft::str("unexpected: ", name, " ", tensor.sizes()));
  }
  if (!problems.empty()) {
    throw CheckpointError(mpeft::str(folder.string(), ": the weights do not fit config.json (", problems.size(),
                                     " problems)\n  ", join(problems, "\n  ")));
  }
}

}  // namespace

MambaConfig find_model_config(const std::string& what) {
  if (const auto size_file = find_size_file(what); !size_file.empty()) return read_size_file(size_file);
  return read_folder_config(checkpoint::find_model_folder(what).path);
}

ModelWithSource make_model(const std::string& what, uint64_t seed) {
  ModelWithSource result;
  if (const auto size_file = find_size_file(what); !size_file.empty()) {
    result.model = MambaLM(read_size_file(size_file));
    init_parameters(result.model, seed);
    result.source.description = mpeft::str(size_file.string(), " (random weights, seed ", seed, ")");
    return result;
  }
  const auto folder = checkpoint::find_model_folder(what);
  result.model = MambaLM(read_folder_config(folder.path));
  load_weights(result.model, folder.path);
  result.source = {what, folder.path, checkpoint::model_weight_files(folder.path)};
  return result;
}

void save_model(MambaLM& model, const std::filesystem::path& folder) {
  checkpoint::TensorMap tensors;
  for (const auto& item : model->named_parameters()) tensors.emplace(item.key(), item.value().detach());
  fs::write_folder_atomic(folder, [&](const fs::Path& temporary) {
    fs::write_file_atomic(temporary / "config.json", model->config().to_json());
    checkpoint::write_safetensors(temporary / "model.safetensors", tensors, {{"format", "pt"}});
  });
}

}  // namespace mpeft::model
