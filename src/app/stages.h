#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "mpeft/model/mamba_config.h"
#include "mpeft/peft/staged_method.h"
#include "mpeft/peft/trainable_report.h"
#include "mpeft/train/trainer.h"

namespace mpeft::app {

/// A stage of a method, counted on a model of the right sizes without weights.
struct StageSummary {
  peft::MethodStage stage;
  peft::TrainableReport report;
};

/// Every stage from that of `method` on, which is not injected and is used up. Which entries a stage will select is not
/// known before the training; how many it is.
std::vector<StageSummary> summarize_stages(std::unique_ptr<peft::PeftMethod> method, const model::MambaConfig& config,
                                           const std::string& where);

/// "stage 1 of 2 (warm-up, 500 steps)"; "" for a method of one stage.
std::string stage_text(const peft::MethodStage& stage);

/// The trainer's stages for those of a method of this `type`; `run_steps`: of the last stage, over which the learning
/// rate moves in each. Throws ConfigError, starting with `where`, when a stage before it has more steps, unless `debug`
/// cuts it to them.
std::vector<train::RunStage> run_stages(const std::string& type, const std::vector<StageSummary>& stages,
                                        int64_t run_steps, bool debug, const std::string& where);

}  // namespace mpeft::app
