#pragma once

#include <string>
#include <string_view>

#include "checkpoint/safetensors_header.h"

namespace mpeft::checkpoint {

/// Reads the JSON part of a header. Only the structure is checked, not that the tensors fit the file. Throws
/// CheckpointError.
SafetensorsHeader parse_safetensors_json(std::string_view json, const std::string& path);

}  // namespace mpeft::checkpoint
