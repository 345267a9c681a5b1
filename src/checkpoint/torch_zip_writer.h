#pragma once

#include <filesystem>

#include "mpeft/checkpoint/tensor_map.h"

namespace mpeft::checkpoint {

/// Writes what `torch.save` writes for a dict of tensors, so that `torch.load(…, weights_only=True)` reads it. Tensors
/// of one memory are stored once; others must be contiguous. fp32, fp16, bf16. Throws CheckpointError.
void write_torch_zip(const std::filesystem::path& path, const TensorMap& tensors);

}  // namespace mpeft::checkpoint
