#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mpeft/checkpoint/adapter_folder.h"

#include "peft/lora_config.h"
#include "peft/lora_modules.h"

namespace mpeft::peft {

/// An adapter on one target, as an export needs it.
struct AttachedLora {
  Target target;
  LoraShape shape;
  std::shared_ptr<LoraProjection> module;  ///< null for the embedding and the convolution
  at::Tensor A0, B0;                       ///< PiSSA's initial values, whose product the base has lost; else undefined
};

/// A LORA method, as an export needs it.
struct LoraParts {
  LoraConfig config;
  std::vector<AttachedLora> adapters;
  std::vector<NamedParameter> other;  ///< saved as they are: embedding, biases, whole modules
};

/// What a method is besides a PeftMethod when it is LoRA alone.
class LoraPartsOwner {
 public:
  virtual ~LoraPartsOwner() = default;
  virtual LoraParts lora_parts() const = 0;
};

/// Adapters of several configurations, on different targets, as those of one; nothing where one configuration of PEFT's
/// cannot say them: with DoRA in some only, or biases. Dropout, which acts in training alone, is the first one's.
std::optional<LoraParts> join_lora(std::vector<LoraParts> all);

/// The adapters as Hugging Face PEFT's on whole modules, exactly (fp32): slices become one block-diagonal pair of their
/// projection, A' = [A_x; A_z] and B' = diag(B_x, B_z) in the slices' rows, at the sum of their ranks; PiSSA's pair
/// becomes [A; A0], [B, -B0], which needs no decomposition on loading. Nothing for what PEFT has not: an adapter
/// on the depthwise convolution, where its rank would have to be a multiple of the channels.
std::optional<checkpoint::AdapterFolder> export_lora(const LoraParts& lora, const std::string& base_model,
                                                     int64_t n_layer);

}  // namespace mpeft::peft
