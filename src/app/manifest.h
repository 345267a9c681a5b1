#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "mpeft/config/experiment.h"
#include "mpeft/model/factory.h"
#include "mpeft/peft/staged_method.h"

namespace mpeft::app {

/// What a run was made of, for `manifest.json`: enough to say later whether two runs are comparable.
struct Manifest {
  const config::ExperimentConfig& config;
  const model::ModelSource& model;
  std::vector<std::filesystem::path> data_files;
  std::string tokenizer_fingerprint;
  std::string sizes;  ///< of the model, as model::MambaConfig::to_json
  std::string device;
  int64_t n_trainable = 0;
  int64_t n_total = 0;
  int64_t total_steps = 0;   ///< optimizer steps from beginning to end, all stages together
  std::string first_metric;  ///< what the run is judged by; "" without evaluation
  struct Stage {
    peft::MethodStage stage;
    int64_t n_trainable = 0;
    int64_t n_total = 0;
  };
  std::vector<Stage> stages;  ///< of a method that trains in several; the numbers above are the last one's
};

/// Writes `manifest.json` into the output folder: versions, commit, seed, device, SHA-256 of data and weight files,
/// `finished`: false. goes_on: a run that began before goes on; throws CheckpointError, and leaves its manifest alone,
/// when that one names other contents of weight or data files, another tokenizer or other sizes (of two runs of which
/// one evaluates, the data of one must be among the other's).
void write_manifest(const Manifest& manifest, bool goes_on);

/// Sets `finished` to true in an output folder's manifest.
void mark_finished(const std::filesystem::path& output_dir);

}  // namespace mpeft::app
