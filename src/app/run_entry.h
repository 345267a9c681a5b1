#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "mpeft/checkpoint/training_folder.h"
#include "mpeft/config/experiment.h"
#include "mpeft/train/run_folder.h"

namespace mpeft::app {

/// Whether the folder holds all that the experiment would leave. Throws ConfigError, naming the flag that would, when a
/// run may not begin in it.
bool finished_before(const train::RunFolder& folder, const config::ExperimentConfig& config);

/// `config`, with `overwrite` where its folder holds a --debug run and it is none itself: that was only to see that the
/// experiment runs.
config::ExperimentConfig over_debug_run(const config::ExperimentConfig& config);

/// Throws ConfigError when one of the files that a run reads lies in what `overwrite` would remove before it.
void require_inputs_outside(const train::RunFolder& folder, const std::vector<std::filesystem::path>& inputs);

/// The experiment's output folder, locked, without what an earlier run left that saved no checkpoint (with `overwrite`
/// as it is: it is cleared when everything is in place for the new run). Null, and the log says why, when there is
/// nothing to do: the experiment is finished, or another process runs it and `lock` is set. Throws ConfigError as
/// finished_before, and when another process runs it.
std::unique_ptr<train::RunFolder> enter_run_folder(const config::ExperimentConfig& config);

/// The checkpoint that `resume` goes on from; none: the run starts at the beginning. Throws CheckpointError when there
/// are checkpoints, but none intact.
std::optional<checkpoint::TrainingFolder> checkpoint_to_resume(const train::RunFolder& folder,
                                                               const config::ExperimentConfig& config);

}  // namespace mpeft::app
