#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "mpeft/config/experiment.h"
#include "mpeft/model/factory.h"
#include "mpeft/optim/adamw.h"
#include "mpeft/peft/adapter.h"

namespace mpeft::app {

/// The model of an experiment with what trains on it.
struct TrainedModel {
  model::MambaLM model{nullptr};
  model::ModelSource source;
  bool has_values = true;                    ///< false: random weights that nobody has drawn
  std::unique_ptr<peft::PeftMethod> method;  ///< null: full fine-tuning

  /// What trains, under its names in the model.
  std::vector<optim::TrainedParameter> parameters();
};

/// What the experiment file asks for; null: full fine-tuning.
std::unique_ptr<peft::PeftMethod> make_method(const config::ExperimentConfig& config);

/// What a checkpoint's adapter was trained by: in the second stage of a method, that with its selection.
std::unique_ptr<peft::PeftMethod> make_saved_method(const std::filesystem::path& checkpoint);

/// Names a method with all its settings: what a checkpoint must agree with to be continued. "" for null.
std::string method_fingerprint(const peft::PeftMethod* method);

/// The experiment's model, with `method` injected or, where that is null, all its weights to be trained. A dry run
/// draws no random weights: nothing asks for their values.
TrainedModel make_trained_model(const config::ExperimentConfig& config, std::unique_ptr<peft::PeftMethod> method,
                                bool dry_run);

/// Writes what was trained into an existing checkpoint or output folder: `adapter/`, or `model/` with the tokenizer
/// beside it.
void save_weights(TrainedModel& trained, const config::ExperimentConfig& config, const std::string& tokenizer_path,
                  const std::filesystem::path& folder);

/// Reads what save_weights wrote. Throws CheckpointError.
void load_weights(TrainedModel& trained, const std::filesystem::path& folder);

}  // namespace mpeft::app
