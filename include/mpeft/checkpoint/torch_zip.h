#pragma once

#include <filesystem>

#include "mpeft/checkpoint/tensor_map.h"

namespace mpeft::checkpoint {

/// Reads the state dict of a `pytorch_model.bin` (zip archive of torch.save): a dict or OrderedDict of tensors, fp64,
/// fp32, fp16, bf16 or integers, views of shared storages included. The pickle is interpreted by a reader that knows
/// the opcodes and the four constructors such files use; any other constructor is an error, nothing is ever executed.
/// Storages are views of one private memory map, as those of read_safetensors. Throws CheckpointError naming path and
/// tensor or opcode.
TensorMap read_torch_zip(const std::filesystem::path& path);

}  // namespace mpeft::checkpoint
