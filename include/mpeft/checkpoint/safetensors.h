#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "mpeft/checkpoint/tensor_map.h"

namespace mpeft::checkpoint {

/// Reads a `.safetensors` file of F64, F32, F16, BF16, integers and BOOL. The tensors are views of one private memory
/// map that lives as long as they do: writing to one copies its pages and leaves the file alone. (A tensor that an old
/// writer put at an odd address is a copy.) Every offset and size is checked against the file, every byte must belong
/// to exactly one tensor. Throws CheckpointError naming path and tensor. The file must not shrink while tensors of it
/// live.
TensorMap read_safetensors(const std::filesystem::path& path);

/// The `__metadata__` strings of a `.safetensors` file.
std::map<std::string, std::string> read_safetensors_metadata(const std::filesystem::path& path);

/// Writes CPU or CUDA tensors (copied and made contiguous one at a time), atomically. The order is that of the
/// safetensors package, widest elements first and then by name, so every tensor lies at a multiple of its element size
/// and the same tensors give the same bytes. Throws CheckpointError naming path and tensor.
void write_safetensors(const std::filesystem::path& path, const TensorMap& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace mpeft::checkpoint
