#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <c10/core/ScalarType.h>

namespace mpeft::checkpoint {

/// One tensor of a safetensors header.
struct TensorEntry {
  std::string name;
  at::ScalarType dtype;
  std::vector<int64_t> shape;
  uint64_t begin;  ///< bytes from the start of the data
  uint64_t end;
};

/// The header of a safetensors file: 8 bytes of length (little endian), then that many bytes of JSON.
struct SafetensorsHeader {
  std::vector<TensorEntry> tensors;  ///< in the order of the data
  std::map<std::string, std::string> metadata;
  uint64_t data_begin;  ///< bytes from the start of the file
};

/// Reads and checks the header of the file whose bytes are `file`: every tensor lies inside, has the bytes its shape
/// and dtype ask for, and all together cover the data without hole or overlap (which the format demands). Throws
/// CheckpointError naming `path` and the tensor.
SafetensorsHeader parse_safetensors_header(std::string_view file, const std::string& path);

/// The header text for tensors in the order given, with spaces at the end so that the data starts at a multiple of 8;
/// the length included.
std::string format_safetensors_header(const std::vector<TensorEntry>& tensors,
                                      const std::map<std::string, std::string>& metadata);

}  // namespace mpeft::checkpoint
