#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mpeft::checkpoint {

/// A tensor as the pickle of a state dict describes it. Nothing is checked against a storage yet.
struct TensorRecord {
  std::string name;
  std::string storage_class;     ///< "FloatStorage"
  std::string storage_key;       ///< name of the file below data/
  int64_t storage_elements = 0;  ///< as the pickle claims
  int64_t offset = 0;            ///< in elements
  std::vector<int64_t> sizes;
  std::vector<int64_t> strides;  ///< in elements
};

/// Interprets the pickle of a state dict, protocols 2 to 5. Knows the opcodes that dicts of tensors are written with
/// and the constructors OrderedDict, _rebuild_tensor_v2, _rebuild_parameter(_with_state) and torch's storage classes;
/// imports and calls nothing. Throws CheckpointError naming `path` and the byte, opcode or constructor.
std::vector<TensorRecord> read_state_dict_pickle(std::string_view pickle, const std::string& path);

}  // namespace mpeft::checkpoint
