#include "mpeft/model/factory.h"

#include <nlohmann/json.hpp>

#include "mpeft/checkpoint/match_tensors.h"
#include "mpeft/checkpoint/model_folder.h"
#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"
#include "mpeft/core/logging.h"
#include "mpeft/core/strings.h"
#include "mpeft/model/init.h"

namespace mpeft::model {
namespace {

constexpr uint64_t kMaxConfigBytes = 1 << 20;
constexpr int64_t kManyWeights = 300'000'000;  // take several seconds to draw

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

// The spelling of state-spaces/mamba, as MambaConfig::from_json reads it too.
std::string state_spaces_json(const MambaConfig& config) {
  if (config.norm_eps != 1e-5) {
    throw ConfigError(mpeft::str("norm_eps: a state-spaces configuration cannot say ", config.norm_eps,
                                 " (it is always 1e-5): write the transformers format"));
  }
  const nlohmann::json object = {{"d_model", config.d_model},
                                 {"n_layer", config.n_layer},
                                 {"vocab_size", config.vocab_size},
                                 {"pad_vocab_size_multiple", 1},
                                 {"ssm_cfg",
                                  {{"layer", "Mamba1"},
                                   {"d_state", config.d_state},
                                   {"d_conv", config.d_conv},
                                   {"expand", config.expand},
                                   {"dt_rank", config.resolved_dt_rank()},
                                   {"bias", config.use_bias},
                                   {"conv_bias", config.use_conv_bias}}},
                                 {"rms_norm", true},
                                 {"residual_in_fp32", true},
                                 {"fused_add_norm", true},
                                 {"tie_embeddings", config.tie_embeddings}};
  return object.dump(2) + "\n";
}

// The weights of a folder, one for each parameter of the model, of its shape.
checkpoint::TensorMap read_matching_weights(MambaLM& model, const std::filesystem::path& folder) {
  auto weights = checkpoint::with_canonical_names(checkpoint::read_model_weights(folder), folder.string());
  if (model->config().tie_embeddings) weights.erase("lm_head.weight");  // the tied head is the embedding
  checkpoint::TensorShapes expected;
  for (const auto& item : model->named_parameters()) expected.emplace(item.key(), item.value().sizes().vec());
  checkpoint::match_tensors(expected, weights).throw_if_any(folder.string());
  for (const auto& [name, tensor] : weights) {
    if (!tensor.is_floating_point()) {
      throw CheckpointError(
          mpeft::str(folder.string(), ": ", name, ": ", tensor.scalar_type(), " is not a floating-point type"));
    }
  }
  return weights;
}

}  // namespace

MambaConfig find_model_config(const std::string& what) {
  if (const auto size_file = find_size_file(what); !size_file.empty()) return read_size_file(size_file);
  return read_folder_config(checkpoint::find_model_folder(what).path);
}

ModelWithSource make_model(const std::string& what, uint64_t seed, bool with_random_values) {
  ModelWithSource result;
  if (const auto size_file = find_size_file(what); !size_file.empty()) {
    result.model = MambaLM(read_size_file(size_file));
    if (with_random_values) {
      int64_t n = 0;
      for (const auto& parameter : result.model->parameters()) n += parameter.numel();
      if (n >= kManyWeights) log::info(mpeft::str(what, ": drawing ", with_thousands(n), " random weights …"));
      init_parameters(result.model, seed);
    }
    result.source.description = mpeft::str(size_file.string(), " (random weights, seed ", seed, ")");
    return result;
  }
  const auto folder = checkpoint::find_model_folder(what);
  result.model = MambaLM(read_folder_config(folder.path));
  const torch::NoGradGuard no_grad;
  const auto weights = read_matching_weights(result.model, folder.path);
  for (auto& item : result.model->named_parameters()) item.value().set_data(weights.at(item.key()));
  result.source = {what, folder.path, checkpoint::model_weight_files(folder.path)};
  return result;
}

void copy_weights(MambaLM& model, const std::filesystem::path& folder) {
  const torch::NoGradGuard no_grad;
  auto weights = read_matching_weights(model, folder);
  for (auto& item : model->named_parameters()) item.value().copy_(checkpoint::take_tensor(weights, item.key()));
}

void save_state_spaces_model(MambaLM& model, const std::filesystem::path& folder,
                             const std::vector<std::filesystem::path>& more_files) {
  checkpoint::TensorMap tensors;
  for (const auto& item : model->named_parameters()) tensors.emplace(item.key(), item.value().detach());
  tensors.emplace("lm_head.weight", model->lm_head->weight.detach());  // named even where it is tied
  checkpoint::save_state_spaces_folder(folder, std::move(tensors), state_spaces_json(model->config()), more_files);
}

void save_model(MambaLM& model, const std::filesystem::path& folder,
                const std::vector<std::filesystem::path>& more_files) {
  checkpoint::TensorMap tensors;
  for (const auto& item : model->named_parameters()) tensors.emplace(item.key(), item.value().detach());
  checkpoint::save_model_folder(folder, tensors, model->config().to_json(), more_files);
}

}  // namespace mpeft::model
