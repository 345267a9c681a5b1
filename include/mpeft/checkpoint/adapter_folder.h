#pragma once

#include <filesystem>
#include <string>

#include "mpeft/checkpoint/tensor_map.h"

namespace mpeft::checkpoint {

/// The two files of an adapter folder in Hugging Face PEFT's layout, uninterpreted.
struct AdapterFolder {
  std::string config_json;  ///< adapter_config.json: a JSON object
  TensorMap tensors;        ///< adapter_model.safetensors, memory-mapped
};

/// Reads `adapter_config.json` and `adapter_model.safetensors` (`adapter_model.bin`, which old versions of PEFT wrote,
/// when that is absent). Throws CheckpointError naming the file, and says what a folder without them looks like.
AdapterFolder read_adapter_folder(const std::filesystem::path& path);

/// Writes the two files, atomically: `path` holds both or is as before (an existing folder is replaced). Throws
/// CheckpointError.
void write_adapter_folder(const std::filesystem::path& path, const AdapterFolder& adapter);

/// Writes the two files into a folder that exists and is being filled, as write_training_folder gives one.
void write_adapter_files(const std::filesystem::path& folder, const AdapterFolder& adapter);

/// True when the folder holds an `adapter_config.json`.
bool is_adapter_folder(const std::filesystem::path& path);

}  // namespace mpeft::checkpoint
