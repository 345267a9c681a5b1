#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "mpeft/checkpoint/tensor_map.h"

namespace mpeft::checkpoint {

/// Where a model was found.
struct ModelFolder {
  std::filesystem::path path;   ///< folder with config.json and weights
  std::string id;               ///< what the user wrote
};

/// Finds a model: an existing local folder, or an id `org/name` in the hub cache ($HF_HUB_CACHE, $HF_HOME/hub,
/// ~/.cache/huggingface/hub: `models--org--name/snapshots/<commit>`, the commit of refs/main first). Throws
/// CheckpointError that lists the places looked in and how to download it.
ModelFolder find_model_folder(const std::string& path_or_id);

/// The weights of a model folder under the names in the files: `model.safetensors`, `model.safetensors.index.json` with
/// its shards, `pytorch_model.bin`, or `pytorch_model.bin.index.json` with its shards, in this order. Memory-mapped.
/// Throws CheckpointError.
TensorMap read_model_weights(const std::filesystem::path& folder);

/// The weight files that read_model_weights reads, for manifests.
std::vector<std::filesystem::path> model_weight_files(const std::filesystem::path& folder);

/// One name for one tensor: state-spaces and transformers spellings become ours, which are transformers'
/// (`backbone.embedding.weight` -> `backbone.embeddings.weight`). Unknown names are returned as they are.
std::string canonical_tensor_name(const std::string& name);

}  // namespace mpeft::checkpoint
