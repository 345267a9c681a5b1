#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <c10/core/ScalarType.h>

namespace mpeft::checkpoint {

/// The most axes of a tensor in a file: ATen's own limit in its kernels.
constexpr size_t kMostAxes = 64;

/// The dtype of a safetensors name ("BF16"); none for names that we do not read.
std::optional<at::ScalarType> dtype_of_safetensors(std::string_view name);

/// The safetensors name of a dtype; none when the format or we do not know it.
std::optional<std::string_view> safetensors_name_of(at::ScalarType dtype);

/// Place of a dtype in the order in which the safetensors package writes tensors (widest first): it puts each tensor at
/// a multiple of its element size.
int safetensors_rank(at::ScalarType dtype);

/// The dtype of a storage class of torch ("FloatStorage"); none for classes that we do not read.
std::optional<at::ScalarType> dtype_of_storage_class(std::string_view name);

/// "F64, F32, …" for messages.
std::string known_safetensors_dtypes();

}  // namespace mpeft::checkpoint
