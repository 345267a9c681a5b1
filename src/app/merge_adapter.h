#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "mpeft/model/factory.h"
#include "mpeft/peft/peft_method.h"

namespace mpeft::app {

/// A base model with an adapter on it, on the CPU in fp32, frozen, in eval mode.
struct AdaptedModel {
  model::MambaLM model{nullptr};
  model::ModelSource source;
  std::unique_ptr<peft::PeftMethod> method;
};

/// Loads both. Throws CheckpointError or ConfigError.
AdaptedModel load_adapted(const std::string& model, const std::filesystem::path& adapter);

/// Merges the adapter and returns the largest relative L2 difference of the logits of some texts of random ids before
/// and after. Throws ConfigError when the method does not merge, CheckpointError when the difference is above
/// `tolerance`.
double merge_checked(AdaptedModel& adapted, double tolerance);

/// Writes the tokenizer that lies beside the base model, if one does, into `folder`.
void copy_tokenizer(const model::ModelSource& source, const std::filesystem::path& folder);

}  // namespace mpeft::app
