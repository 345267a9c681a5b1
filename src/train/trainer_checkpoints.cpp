// What a trainer leaves on disk and goes on from: checkpoints, and what is said about them where a run stops.
#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <ratio>

#include <nlohmann/json.hpp>

#include "mpeft/core/error.h"
#include "mpeft/core/logging.h"
#include "mpeft/core/strings.h"
#include "mpeft/train/loss.h"
#include "mpeft/train/trainer.h"

namespace mpeft::train {
namespace {

using nlohmann::json;

// "key: old → new" of what differs between two fingerprints, without the keys that `is_free` says.
template <typename IsFree>
std::vector<std::string> differences(const std::string& before, const std::string& now, const IsFree& is_free) {
  std::map<std::string, std::array<std::string, 2>> values = {{"lr_scheduler", {"linear", "linear"}}};  // or unsaid
  for (const size_t which : {size_t{0}, size_t{1}}) {
    for (const auto& part : split(which == 0 ? before : now, ',')) {
      const std::string_view entry = trim(part);
      const size_t end = std::min(entry.find(' '), entry.size());
      values[std::string(entry.substr(0, end))][which] = trim(entry.substr(end));
    }
  }
  std::vector<std::string> changes;
  const auto shown = [](const std::string& value) { return value.empty() ? std::string("none") : value; };
  for (const auto& [key, pair] : values) {
    if (pair[0] != pair[1] && !is_free(key))
      changes.push_back(mpeft::str(key, ": ", shown(pair[0]), " → ", shown(pair[1])));
  }
  return changes;
}

}  // namespace

// What a checkpoint must agree with to be continued: the order of the data and the schedule hang on it. "key value"
// each.
std::string Trainer::fingerprint() const {
  return mpeft::str(
      "examples ", examples_.size(), ", batch_size ", options_.batch_size, ", gradient_accumulation_steps ",
      options_.gradient_accumulation_steps, ", num_epochs ", options_.num_epochs, ", seed ", options_.seed,
      ", max_steps ", options_.max_steps, ", learning_rate ", options_.learning_rate, ", warmup_steps ",
      options_.warmup_steps,
      options_.schedule == optim::Schedule::Shape::kLinear  // unsaid in checkpoints from before it was there
          ? ""
          : ", lr_scheduler " + optim::to_string(options_.schedule),
      options_.method.empty() ? "" : ", method " + options_.method);
}

bool Trainer::is_save_due() const {
  const std::chrono::duration<double, std::ratio<60>> minutes = Clock::now() - last_save_;
  return !options_.no_save && options_.save_minutes > 0 && minutes.count() >= options_.save_minutes;
}

// Whether the weights may be saved. Where the last step's loss is not finite, they or its batch are to blame: the
// optimizer left them as they were, so another batch tells.
bool Trainer::has_sound_weights() {
  if (!runner_.has_finite_weights()) return false;
  if (runner_.has_finite_loss()) return true;
  if (batch_before_.rows == 0) return false;
  model_->eval();
  const bool sound = first_not_finite(model_, batch_before_).empty();
  model_->train();
  return sound;
}

// None is written, and so none pruned, while the weights may be broken.
void Trainer::save_checkpoint() {
  if (options_.no_save) return;
  if (has_sound_weights()) {
    checkpoint::TrainingState saved;
    saved.tensors["optimizer"] = runner_.optimizer().state();
    saved.json = json({{"epoch", state_.epoch},
                       {"steps_in_epoch", state_.steps_in_epoch},
                       {"step", state_.step},
                       {"stage", options_.stage.number},
                       {"loss_scale", runner_.loss_scale().value},
                       {"loss_scale_good_steps", runner_.loss_scale().good_steps},
                       {"fingerprint", fingerprint()}})
                     .dump(2);
    checkpoint::write_training_folder(options_.output_dir, run_step(), [&](const std::filesystem::path& folder) {
      checkpoint::write_training_state(folder, saved);
      hooks_.save_weights(folder);
    });
    if (save_in_epoch_ && *save_in_epoch_ != run_step())
      checkpoint::remove_training_folder(options_.output_dir, *save_in_epoch_);
    save_in_epoch_ = state_.steps_in_epoch > 0 ? std::optional(run_step()) : std::nullopt;
    prune_checkpoints();
    last_save_ = Clock::now();
  } else if (!has_warned_not_finite_) {
    has_warned_not_finite_ = true;
    log::warning(mpeft::str("step ", run_step(),
                            ": the loss or a trained weight is not finite; no checkpoint is written while it is so"));
  }
}

void Trainer::prune_checkpoints() const {
  const auto lines = read_eval_lines(options_.output_dir / "metrics.jsonl");
  std::vector<int64_t> keep;
  if (const auto* const best = best_evaluation(lines, options_.first_metric)) keep.push_back(best->step);
  if (save_in_epoch_) keep.push_back(*save_in_epoch_);
  checkpoint::prune_training_folders(options_.output_dir, options_.save_total_limit, keep);
}

// After `n_bad` bad steps. The weights of the step before them were the first that gave no finite loss.
std::string Trainer::intact_checkpoint_text(int64_t n_bad) const {
  const int64_t first_bad = run_step() - n_bad;
  auto folders = checkpoint::list_training_folders(options_.output_dir);
  std::string later;
  for (; !folders.empty() && folders.back().step >= first_bad; folders.pop_back()) {
    later = mpeft::str("\n  the loss is not finite from the step after ", folders.back().path.string(), " on");
  }
  for (; !folders.empty(); folders.pop_back()) {
    try {
      checkpoint::verify_training_folder(folders.back().path);
      return "\n  the last checkpoint is intact: " + folders.back().path.string() + later;
    } catch (const CheckpointError&) {  // damaged since
    }
  }
  return later;
}

void Trainer::stop_interrupted(const std::string& when) const {
  const auto folders = checkpoint::list_training_folders(options_.output_dir);
  std::string what_now = "the run is saved: add --resume to go on";
  if (options_.no_save) {
    what_now = "nothing was saved (no_save)";
  } else if (folders.empty()) {
    what_now = "there is no checkpoint yet";
  } else if (folders.back().step != run_step()) {
    what_now = "add --resume to go on from " + folders.back().path.filename().string();
  }
  throw Interrupted(mpeft::str("interrupted ", when, "; ", what_now));
}

// The moments are as large as what trains, each.
NoRoomPlace Trainer::room_needed() {
  uint64_t moments = 0;
  for (const auto& [name, tensor] : runner_.optimizer().state()) moments += tensor.nbytes();
  return {options_.output_dir, options_.no_save ? 0 : moments / 2 * 3, options_.save_total_limit};
}

void Trainer::resume(const checkpoint::TrainingFolder& folder) {
  const auto saved = checkpoint::read_training_state(folder.path);
  const json state = json::parse(saved.json, nullptr, /*allow_exceptions=*/false);
  const std::string where = (folder.path / "state.json").string();
  try {
    // The steps of a constant learning rate do not hang on how many there are.
    const bool may_end_elsewhere = options_.schedule == optim::Schedule::Shape::kConstant;
    const auto changes = differences(
        state.at("fingerprint").get<std::string>(), fingerprint(),
        [&](const std::string& key) { return may_end_elsewhere && (key == "num_epochs" || key == "max_steps"); });
    if (!changes.empty()) {
      throw CheckpointError(mpeft::str(where, ": was made with other settings and cannot be continued with these:\n  ",
                                       join(changes, "\n  "),
                                       "\n  use the same settings, or --overwrite to start anew"));
    }
    if (state.value("stage", int64_t{1}) != options_.stage.number) {
      throw CheckpointError(mpeft::str(where, ": belongs to stage ", state.value("stage", int64_t{1}),
                                       ", not to stage ", options_.stage.number));
    }
    state_ = {state.at("epoch").get<int64_t>(), state.at("steps_in_epoch").get<int64_t>(),
              state.at("step").get<int64_t>()};
    if (state_.step > total_steps()) {
      throw CheckpointError(mpeft::str(where, ": is at step ", state_.step, ", past the end of a training of ",
                                       total_steps(), " steps (num_epochs, max_steps)"));
    }
    runner_.loss_scale() = {state.at("loss_scale").get<double>(), state.at("loss_scale_good_steps").get<int64_t>()};
  } catch (const json::exception&) {
    throw CheckpointError(where + ": not the state of a training run");
  }
  const auto optimizer = saved.tensors.find("optimizer");
  if (optimizer == saved.tensors.end())
    throw CheckpointError(folder.path.string() + ": optimizer.safetensors is missing");
  runner_.optimizer().load_state(optimizer->second);
  if (state_.steps_in_epoch > 0) save_in_epoch_ = run_step();
}

int64_t stage_of(const checkpoint::TrainingFolder& folder) {
  const json state =
      json::parse(checkpoint::read_training_state(folder.path).json, nullptr, /*allow_exceptions=*/false);
  if (!state.is_object() || !state.value("stage", json(1)).is_number_integer()) {
    throw CheckpointError((folder.path / "state.json").string() + ": not the state of a training run");
  }
  return state.value("stage", int64_t{1});
}

}  // namespace mpeft::train
