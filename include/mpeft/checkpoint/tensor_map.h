#pragma once

#include <map>
#include <string>

#include <ATen/core/Tensor.h>

namespace mpeft::checkpoint {

/// Tensors by name, sorted by name.
using TensorMap = std::map<std::string, at::Tensor>;

/// Removes a tensor from the map and returns it. The pages of a memory-mapped tensor leave the resident set when its
/// last holder goes, so `parameter.copy_(take_tensor(map, name))`, one after the other, keeps one tensor of the file in
/// memory beside the parameters. Throws CheckpointError when there is no such tensor.
at::Tensor take_tensor(TensorMap& tensors, const std::string& name);

/// Bytes that the tensors would take if each had its own contiguous memory.
uint64_t total_bytes(const TensorMap& tensors);

}  // namespace mpeft::checkpoint
