#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "mpeft/checkpoint/tensor_map.h"

namespace mpeft::checkpoint {

/// Where a model was found.
struct ModelFolder {
  std::filesystem::path path;  ///< folder with config.json and weights
  std::string id;              ///< what the user wrote
};

/// Finds a model: an existing local folder, or an id `org/name` in the hub cache
/// (`models--org--name/snapshots/<commit>`, the commit of refs/main first, else the newest complete one). The cache is
/// $HF_HUB_CACHE, else $HF_HOME/hub, else $XDG_CACHE_HOME/huggingface/hub, else ~/.cache/huggingface/hub. Throws
/// CheckpointError that lists the places looked in and how to download it.
ModelFolder find_model_folder(const std::string& path_or_id);

/// The snapshots of a repository in the hub cache, in the order in which find_model_folder looks into them: the commit
/// of refs/main first, then the newest. None for what is no id or not there.
std::vector<std::filesystem::path> hub_snapshots(const std::string& id);

/// The hub cache folder by the rules above; it need not exist.
std::filesystem::path hub_cache_folder();

/// The weights of a model folder under the names in the files: `model.safetensors`, `model.safetensors.index.json` with
/// its shards, `pytorch_model.bin`, or `pytorch_model.bin.index.json` with its shards, in this order. Memory-mapped:
/// the pages of a tensor count as resident memory from when it is read until it is dropped (take_tensor). Throws
/// CheckpointError: no weights, a shard that is missing or leads out of the folder, a tensor that index and shards
/// disagree about.
TensorMap read_model_weights(const std::filesystem::path& folder);

/// The weight files that read_model_weights reads (an index before its shards), for manifests. Throws CheckpointError.
std::vector<std::filesystem::path> model_weight_files(const std::filesystem::path& folder);

/// One name for one tensor: state-spaces and transformers spellings become ours, which are transformers'
/// (`backbone.embedding.weight` -> `backbone.embeddings.weight`). Unknown names are returned as they are.
std::string canonical_tensor_name(const std::string& name);

/// The same tensors under their canonical names. Throws CheckpointError, beginning with `where`, when two tensors would
/// get one name.
TensorMap with_canonical_names(TensorMap tensors, const std::string& where);

/// Writes a model folder that transformers and read_model_weights load: `config.json` with `config_json`, and all
/// tensors in one `model.safetensors`. Where `lm_head.weight` and `backbone.embeddings.weight` are one memory it is
/// written once, unless the configuration says that they are not tied. Copies of `more_files` lie beside. Atomic:
/// `path` holds all or is as before. Throws CheckpointError.
void save_model_folder(const std::filesystem::path& path, const TensorMap& tensors, const std::string& config_json,
                       const std::vector<std::filesystem::path>& more_files = {});

/// Writes a model folder that mamba_ssm's from_pretrained loads: `config.json` with `config_json` and all tensors,
/// under its names (`backbone.embedding.weight`), in `pytorch_model.bin`. Copies of `more_files` lie beside. Atomic.
/// Throws CheckpointError.
void save_state_spaces_folder(const std::filesystem::path& path, TensorMap tensors, const std::string& config_json,
                              const std::vector<std::filesystem::path>& more_files = {});

}  // namespace mpeft::checkpoint
