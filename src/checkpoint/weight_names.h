#pragma once

#include <array>

namespace mpeft::checkpoint {

/// Names of the weights of a model folder, the preferred first.
inline constexpr const char* kSafetensors = "model.safetensors";
inline constexpr const char* kSafetensorsIndex = "model.safetensors.index.json";
inline constexpr const char* kTorchZip = "pytorch_model.bin";
inline constexpr const char* kTorchZipIndex = "pytorch_model.bin.index.json";
inline constexpr std::array<const char*, 4> kWeightNames = {kSafetensors, kSafetensorsIndex, kTorchZip, kTorchZipIndex};

}  // namespace mpeft::checkpoint
