#pragma once

#include <span>
#include <string>

#include <c10/core/Device.h>

#include "mpeft/config/experiment.h"

#include "app/experiment_data.h"
#include "app/stages.h"
#include "app/trained_model.h"

namespace mpeft::app {

/// Logs what a run is about to do, a line a subject: experiment, model, what trains, data, steps, memory, device.
/// `stages`: those of the method, from the one that starts here on. validation: null without evaluation.
void log_overview(const config::ExperimentConfig& config, TrainedModel& trained, std::span<const StageSummary> stages,
                  const TokenizedSplit& train, const TokenizedSplit* validation, at::Device device,
                  int64_t steps_per_epoch);

/// Logs the part of it that says what trains with a method of this `type`, stage by stage.
void log_method(const std::string& type, std::span<const StageSummary> stages);

}  // namespace mpeft::app
