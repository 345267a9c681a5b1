#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "mpeft/model/mamba_lm.h"
#include "mpeft/peft/peft_method.h"

namespace mpeft::peft {

/// Writes `adapter_config.json` and `adapter_model.safetensors` (fp32) atomically.
void save_adapter(const PeftMethod& method, const std::string& base_model, const std::filesystem::path& folder);

/// Puts a saved adapter, ours or Hugging Face PEFT's, on a frozen model (on the CPU, before place_parameters) and gives
/// it the saved values. Throws CheckpointError naming every missing, unexpected or mis-shaped tensor.
std::unique_ptr<PeftMethod> load_adapter(model::MambaLM& model, const std::filesystem::path& folder);

/// Copies values into the parameters of an injected method, by name. Throws CheckpointError, starting with `where`.
void load_parameters(const PeftMethod& method, const checkpoint::TensorMap& values, const std::string& where);

}  // namespace mpeft::peft
