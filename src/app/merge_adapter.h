#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "mpeft/model/factory.h"
#include "mpeft/peft/peft_method.h"

namespace mpeft::app {

/// A base model with an adapter on it, on the CPU in fp32, frozen, in eval mode.
struct AdaptedModel {
  model::MambaLM model{nullptr};
  model::ModelSource source;
  std::unique_ptr<peft::PeftMethod> method;
  std::map<std::string, at::ScalarType> base_dtypes;  ///< of the base's weights as they were read
};

/// Loads both; `seed` draws the weights of a base that is a size. Throws CheckpointError or ConfigError.
AdaptedModel load_adapted(const std::string& model, const std::filesystem::path& adapter, uint64_t seed);

/// Merges the adapter and returns the largest relative L2 difference of the logits of some texts of random ids before
/// and after. Throws ConfigError when the method does not merge, CheckpointError when the difference is above
/// `tolerance`.
double merge_checked(AdaptedModel& adapted, double tolerance);

/// Adds --dtype, for round_weights.
void add_dtype_option(CLI::App& command, std::string& dtype);

/// Gives each weight of the merged model the dtype that `name` says ("bf16", "fp16", "fp32"), or with "" the one it has
/// in the base. Throws CheckpointError for a value that the dtype cannot hold.
void round_weights(AdaptedModel& adapted, const std::string& name);

/// What lies beside the base's weights and belongs into a merged model's folder: the files of its tokenizer, and how it
/// generates.
std::vector<std::filesystem::path> files_beside(const model::ModelSource& source);

}  // namespace mpeft::app
