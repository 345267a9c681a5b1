#pragma once

#include "mpeft/config/experiment.h"

namespace mpeft::app {

/// Runs an experiment from its configuration to its last metric: `train`. With `dry_run`, everything up to the first
/// step. Returns the exit code; throws mpeft::Error.
int run_experiment(const config::ExperimentConfig& config, bool dry_run);

}  // namespace mpeft::app
