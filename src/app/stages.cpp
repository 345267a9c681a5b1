#include "app/stages.h"

#include <algorithm>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

namespace mpeft::app {

std::vector<StageSummary> summarize_stages(std::unique_ptr<peft::PeftMethod> method, const model::MambaConfig& config,
                                           const std::string& where) {
  std::vector<StageSummary> stages;
  while (true) {
    // Uninitialised weights are never touched: counting a 2.8b model costs no memory.
    model::MambaLM sizes(config);
    const auto stage = peft::stage_of(*method);
    if (!stage.is_last()) {
      // What the next stage is decided by; a few megabytes.
      const torch::NoGradGuard no_grad;
      for (auto& block : sizes->backbone->layers) {
        block->mixer->A_log.zero_();
        block->mixer->dt_proj->bias.zero_();
      }
    }
    method->inject_shapes(sizes);
    stages.push_back({stage, peft::report_trainable(sizes)});
    if (stage.is_last()) return stages;
    method = peft::make_peft_method(peft::next_stage_json(*method), where);
  }
}

std::string stage_text(const peft::MethodStage& stage) {
  if (stage.count == 1) return "";
  std::vector<std::string> details;
  if (!stage.name.empty()) details.push_back(stage.name);
  if (stage.steps > 0) details.push_back(with_thousands(stage.steps) + (stage.steps == 1 ? " step" : " steps"));
  return mpeft::str("stage ", stage.number, " of ", stage.count,
                    details.empty() ? "" : mpeft::str(" (", join(details, ", "), ")"));
}

std::vector<train::RunStage> run_stages(const std::string& type, const std::vector<StageSummary>& stages,
                                        int64_t run_steps, bool debug, const std::string& where) {
  std::vector<train::RunStage> result;
  int64_t steps_before = 0;
  for (const auto& [stage, report] : stages) {
    train::RunStage next;
    next.number = stage.number;
    next.count = stage.count;
    next.label = mpeft::str(type, " ", stage_text({stage.number, stage.count, stage.name, 0}));
    next.steps_before = steps_before;
    if (stage.steps > 0) {
      if (stage.steps > run_steps && !debug) {
        throw ConfigError(mpeft::str(where, ": the ", stage.name, " of ", stage.steps, " steps is longer than the ",
                                     run_steps,
                                     " steps of the training after it: lower num_warmup_it in the adapter's "
                                     "file (steps - 1), or train longer (num_epochs, max_steps)"));
      }
      next.steps = std::min(stage.steps, run_steps);
      next.schedule_steps = run_steps;
      steps_before += next.steps;
    }
    result.push_back(std::move(next));
  }
  return result;
}

}  // namespace mpeft::app
