#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "mpeft/model/mamba_lm.h"

namespace mpeft::model {

/// Where a model's weights came from, for messages and manifests.
struct ModelSource {
  std::string description;       ///< "weights/quickstart/base/model" or "random weights (cfg/models/130m.yaml)"
  std::filesystem::path folder;  ///< empty for random weights
  std::vector<std::filesystem::path> weight_files;
};

struct ModelWithSource {
  MambaLM model{nullptr};
  ModelSource source;
};

/// Builds the model that `what` names: a size of cfg/models (a path to the YAML file, or its stem: "130m"), which gets
/// random weights from `seed`; a folder with config.json and weights; or a hub id. Everything frozen, on the CPU,
/// weights in the file's dtype (memory-mapped): place_parameters comes next. Throws CheckpointError or ConfigError.
/// with_random_values: false leaves the weights of a size undefined, for who asks no more than what they are; to draw
/// those of 2.8b takes a minute.
ModelWithSource make_model(const std::string& what, uint64_t seed, bool with_random_values = true);

/// The sizes alone, without weights.
MambaConfig find_model_config(const std::string& what);

/// Copies the weights of a model folder into the parameters of a model of the same sizes, where they are and in their
/// dtypes. Throws CheckpointError naming every tensor that is missing, unexpected or of another shape.
void copy_weights(MambaLM& model, const std::filesystem::path& folder);

/// Writes `config.json` and `model.safetensors` (names and layout that transformers reads) atomically, with copies of
/// `more_files` beside them.
void save_model(MambaLM& model, const std::filesystem::path& folder,
                const std::vector<std::filesystem::path>& more_files = {});

/// Writes `config.json` and `pytorch_model.bin` (names and layout that mamba_ssm's from_pretrained reads) atomically,
/// with copies of `more_files` beside them. Throws ConfigError for what its configuration cannot say: another norm_eps
/// than 1e-5.
void save_state_spaces_model(MambaLM& model, const std::filesystem::path& folder,
                             const std::vector<std::filesystem::path>& more_files = {});

}  // namespace mpeft::model
