#include "app/run_entry.h"

#include <algorithm>
#include <filesystem>

#include "mpeft/core/error.h"
#include "mpeft/core/logging.h"
#include "mpeft/core/strings.h"
#include "mpeft/train/metrics_log.h"

namespace mpeft::app {
namespace {

namespace sfs = std::filesystem;

// A run that goes on under other settings would be neither experiment.
void require_settings_to_resume(const config::ExperimentConfig& before, const config::ExperimentConfig& now) {
  const auto changes = config::changes_against_resume(before, now);
  if (changes.empty()) return;
  const bool is_longer = std::ranges::any_of(
      changes, [](const auto& change) { return change.starts_with("num_epochs") || change.starts_with("max_steps"); });
  throw ConfigError(mpeft::str(
      now.output_dir, ": --resume cannot go on with other settings than the run began with:\n  ", join(changes, "\n  "),
      is_longer && now.lr_scheduler != "constant"
          ? mpeft::str("\n  (lr_scheduler ", now.lr_scheduler,
                       ": the learning rates of the steps so far hang on the length; only constant can train longer)")
          : "",
      "\n  use the settings of ", (sfs::path(now.output_dir) / "cfg.yaml").string(),
      ", or start anew with --overwrite or in another folder (--output)"));
}

// Without the settings that the run began with, only what the checkpoint records can be compared.
void warn_of_unknown_settings(const train::RunFolder& folder) {
  const sfs::path file = folder.path() / "cfg.yaml";
  std::string why = "is missing";
  if (std::error_code hidden; sfs::exists(file, hidden)) {
    try {
      config::load_experiment(file.string(), {}, {.check_files = false, .data_problem = nullptr});
      return;
    } catch (const Error& e) {
      why = mpeft::str("cannot be read (", e.what(), ")");
    }
  }
  log::warning(mpeft::str(file.string(), " ", why, ", so only what the checkpoint itself records is compared"));
}

}  // namespace

bool finished_before(const train::RunFolder& folder, const config::ExperimentConfig& config) {
  const std::string name = config.output_dir, remedy = "; --overwrite starts anew, --output names another folder";
  if (config.overwrite) {
    folder.require_ours();
    return false;
  }
  const auto before = config::saved_experiment(config.output_dir);
  if (folder.is_finished()) {
    const bool can_go_on = folder.has_checkpoint() && before && config::is_extension(*before, config);
    if (can_go_on && config.resume) return false;
    const auto changes = before ? config::changed_settings(*before, config) : std::vector<std::string>();
    if (!changes.empty())
      throw ConfigError(name + ": already finished, with other settings (" + join(changes, ", ") + ")" +
                        (can_go_on ? "; --resume trains it longer" : "") + remedy);
    const char* const result = config::result_folder(config);
    if (!config.no_save && !sfs::exists(folder.path() / result))
      throw ConfigError(mpeft::str(name, ": already finished, but ", result, "/ is not there any more", remedy));
    return true;
  }
  if (config.resume && folder.has_checkpoint()) {
    if (before) require_settings_to_resume(*before, config);
    if (!before) warn_of_unknown_settings(folder);
  }
  if (folder.has_checkpoint() && !config.resume) {
    throw ConfigError(name +
                      ": holds an unfinished run: --resume goes on from its last checkpoint, --overwrite starts anew");
  }
  return false;
}

config::ExperimentConfig over_debug_run(const config::ExperimentConfig& config) {
  config::ExperimentConfig result = config;
  if (config.debug || config.overwrite) return result;
  const auto before = config::saved_experiment(config.output_dir);
  if (!before || !before->debug) return result;
  log::info(config.output_dir + ": holds a --debug run, which this one replaces");
  result.overwrite = true;
  result.resume = false;
  return result;
}

void require_inputs_outside(const train::RunFolder& folder, const std::vector<sfs::path>& inputs) {
  for (const auto& input : inputs) {
    if (!folder.would_clear(input)) continue;
    throw ConfigError(mpeft::str(folder.path().string(), ": starting anew would remove ", input.string(),
                                 ", which the run reads; name another folder with --output"));
  }
}

std::unique_ptr<train::RunFolder> enter_run_folder(const config::ExperimentConfig& config) {
  auto folder = train::RunFolder::open(config.output_dir);
  if (!folder) {
    const std::string message = config.output_dir + ": another process is running this experiment";
    if (!config.lock) throw ConfigError(message + "; --lock skips it, --output names another folder");
    log::info(message + "; skipped");
    return nullptr;
  }
  if (finished_before(*folder, config)) {
    log::info(config.output_dir + ": already finished; --overwrite starts anew");
    return nullptr;
  }
  folder->remove_leftovers();
  if (config.overwrite || folder->has_checkpoint()) return folder;
  std::vector<sfs::path> inputs(config.peft.begin(), config.peft.end());
  inputs.insert(inputs.end(), {config.model, config.tokenizer});
  require_inputs_outside(*folder, inputs);
  const size_t n_evaluations = train::read_eval_lines(folder->path() / "metrics.jsonl").size();
  folder->clear();
  if (n_evaluations > 0) {
    log::info(mpeft::str(config.output_dir, ": removed the ", n_evaluations,
                         " evaluations of a run that saved no checkpoint and was not finished"));
  }
  return folder;
}

std::optional<checkpoint::TrainingFolder> checkpoint_to_resume(const train::RunFolder& folder,
                                                               const config::ExperimentConfig& config) {
  if (!config.resume) return std::nullopt;
  auto latest = checkpoint::latest_training_folder(folder.path());
  if (!latest && folder.has_checkpoint()) {
    throw CheckpointError(
        config.output_dir +
        ": no checkpoint is intact (see above), so there is nothing to go on from; --overwrite starts anew");
  }
  if (!latest) log::info(config.output_dir + ": no checkpoint to resume from; starting at the beginning");
  return latest;
}

}  // namespace mpeft::app
