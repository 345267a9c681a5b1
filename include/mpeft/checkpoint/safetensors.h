#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "mpeft/checkpoint/tensor_map.h"

namespace mpeft::checkpoint {

/// Reads a `.safetensors` file. The tensors are views of one read-only memory map that lives as long as they do (copy
/// before writing). Every offset and size is checked against the file. Throws CheckpointError naming path and tensor.
TensorMap read_safetensors(const std::filesystem::path& path);

/// The `__metadata__` strings of a `.safetensors` file.
std::map<std::string, std::string> read_safetensors_metadata(const std::filesystem::path& path);

/// Writes CPU or CUDA tensors (made contiguous one at a time), atomically, sorted by name, data 8-byte aligned: the same
/// tensors give the same bytes. Throws CheckpointError for a dtype that the format does not know.
void write_safetensors(const std::filesystem::path& path, const TensorMap& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace mpeft::checkpoint
