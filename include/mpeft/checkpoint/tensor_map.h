#pragma once

#include <map>
#include <string>

#include <ATen/core/Tensor.h>

namespace mpeft::checkpoint {

/// Tensors by name, sorted by name.
using TensorMap = std::map<std::string, at::Tensor>;

}  // namespace mpeft::checkpoint
