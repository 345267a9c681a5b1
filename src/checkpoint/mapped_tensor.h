#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "mpeft/core/fs.h"

namespace mpeft::checkpoint {

using SharedMap = std::shared_ptr<const fs::MappedFile>;

/// Maps a file, copy on write; throws CheckpointError naming the path.
SharedMap map_file(const std::filesystem::path& path);

/// A contiguous tensor over bytes [begin, …) of the map, which it keeps alive; writing to it leaves the file alone.
/// When its storage goes, its pages are handed back. Copied instead where `begin` is not a multiple of the element size
/// (files of old writers). The range and the shape must have been checked. Throws CheckpointError, beginning with
/// `what`, when a bool is neither 0 nor 1.
at::Tensor map_tensor(const SharedMap& map, uint64_t begin, const std::vector<int64_t>& shape, at::ScalarType dtype,
                      const std::string& what);

/// Bytes of a contiguous tensor; none when a size is negative or the bytes, or the strides an empty shape would have,
/// pass 2^63.
std::optional<uint64_t> bytes_of(const std::vector<int64_t>& shape, at::ScalarType dtype);

}  // namespace mpeft::checkpoint
