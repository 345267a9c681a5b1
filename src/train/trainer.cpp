#include "mpeft/train/trainer.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <map>

#include <nlohmann/json.hpp>

#include "mpeft/checkpoint/training_folder.h"
#include "mpeft/core/check.h"
#include "mpeft/core/error.h"
#include "mpeft/core/logging.h"
#include "mpeft/core/random.h"
#include "mpeft/core/strings.h"
#include "mpeft/data/collator.h"
#include "mpeft/train/device.h"
#include "mpeft/train/interrupt.h"
#include "mpeft/train/loss.h"
#include "mpeft/train/progress.h"

#include "train/not_finite.h"
#include "train/out_of_memory.h"

namespace mpeft::train {
namespace {

using nlohmann::json;

std::string scientific(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1e", value);
  return text;
}

// What starts the lines of a stage: nothing in a run without stages.
std::string stage_text(const RunStage& stage) { return stage.count > 1 ? stage.label + "  " : ""; }

constexpr int64_t kMaxConsecutiveBad = 10;

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

Trainer::Trainer(model::MambaLM model, std::vector<optim::TrainedParameter> parameters,
                 const std::vector<data::Example>& examples, TrainerOptions options, TrainerHooks hooks)
    : model_(model),
      examples_(examples),
      options_(std::move(options)),
      hooks_(std::move(hooks)),
      runner_(model, std::move(parameters), options_.adamw, options_.use_loss_scale, options_.use_graphs) {
  MPEFT_ASSERT(!examples_.empty(), "no examples to train on");
}

int64_t TrainerOptions::steps_per_epoch(int64_t n_examples) const {
  const int64_t rows_per_step = batch_size * gradient_accumulation_steps;
  return (n_examples + rows_per_step - 1) / rows_per_step;
}

int64_t TrainerOptions::all_steps(int64_t n_examples) const {
  const int64_t all = steps_per_epoch(n_examples) * num_epochs;
  return max_steps > 0 ? std::min(all, max_steps) : all;
}

int64_t Trainer::steps_per_epoch() const { return options_.steps_per_epoch(static_cast<int64_t>(examples_.size())); }

int64_t Trainer::total_steps() const {
  const int64_t all = options_.all_steps(static_cast<int64_t>(examples_.size()));
  return options_.stage.steps > 0 ? std::min(all, options_.stage.steps) : all;
}

bool Trainer::is_finished() const { return state_.step >= total_steps(); }

bool Trainer::is_evaluation_due() const {
  if (!hooks_.evaluate || options_.eval_epochs <= 0) return false;
  return is_finished() || (state_.steps_in_epoch == 0 && state_.epoch % options_.eval_epochs == 0);
}

// A run that was killed between a checkpoint and its evaluation makes up for it when it goes on.
void Trainer::evaluate_if_missing(MetricsLog& log) {
  if (state_.step == 0 ? !options_.eval_before_training : !is_evaluation_due()) return;
  const auto lines = read_eval_lines(options_.output_dir / "metrics.jsonl");
  const bool is_done =
      std::any_of(lines.begin(), lines.end(), [&](const EvalLine& line) { return line.step == run_step(); });
  if (!is_done) evaluate(log);
}

std::optional<int64_t> Trainer::best_step() const {
  std::optional<int64_t> best;
  double best_value = 0;
  for (const auto& line : read_eval_lines(options_.output_dir / "metrics.jsonl")) {
    const auto it = line.metrics.find(options_.first_metric);
    if (it == line.metrics.end() || (best && !(it->second > best_value))) continue;
    best = line.step;
    best_value = it->second;
  }
  return best;
}

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

std::vector<data::Batch> Trainer::step_batches(const std::vector<int64_t>& order, int64_t step_in_epoch) const {
  std::vector<data::Batch> batches;
  for (int64_t micro = 0; micro < options_.gradient_accumulation_steps; ++micro) {
    const auto n = static_cast<int64_t>(order.size());
    const int64_t begin = (step_in_epoch * options_.gradient_accumulation_steps + micro) * options_.batch_size;
    std::vector<const data::Example*> rows;
    for (int64_t i = begin; i < std::min(begin + options_.batch_size, n); ++i) {
      rows.push_back(&examples_[static_cast<size_t>(order[static_cast<size_t>(i)])]);
    }
    if (!rows.empty()) batches.push_back(data::collate(rows, options_.pad_id));
  }
  return batches;
}

void Trainer::run() {
  const InterruptGuard interrupt;
  MetricsLog log(options_.output_dir / "metrics.jsonl", run_step(),
                 options_.stage.count > 1 ? options_.stage.number : 0);
  evaluate_if_missing(log);
  while (!is_finished()) run_epoch(log);
}

void Trainer::run_epoch(MetricsLog& log) {
  using Clock = std::chrono::steady_clock;
  const auto order = permutation(static_cast<int64_t>(examples_.size()),
                                 derive_seed(options_.seed, "shuffle", static_cast<uint64_t>(state_.epoch)));
  const int64_t n_steps = steps_per_epoch();
  const optim::Schedule schedule{options_.schedule, options_.learning_rate, options_.warmup_steps,
                                 options_.stage.schedule_steps > 0 ? options_.stage.schedule_steps : total_steps()};
  const at::Device device = model_->device();
  const int64_t steps_left = total_steps() - state_.step;
  const int64_t last_in_epoch = std::min(n_steps, state_.steps_in_epoch + steps_left);
  Progress progress(mpeft::str(stage_text(options_.stage), "epoch ", state_.epoch + 1, "/", options_.num_epochs),
                    last_in_epoch, state_.steps_in_epoch, steps_left - (last_in_epoch - state_.steps_in_epoch));

  model_->train();
  int64_t tokens = 0;
  StepStatistics shown;
  double tokens_per_second = 0;
  auto window_begin = Clock::now();
  int64_t window_step = state_.step;
  while (state_.steps_in_epoch < n_steps && !is_finished()) {
    const auto batches = step_batches(order, state_.steps_in_epoch);
    // Dropout's numbers hang on the step alone: a resumed run draws the same ones.
    seed_generators(device, derive_seed(options_.seed, "dropout", static_cast<uint64_t>(state_.step)));
    const double learning_rate = schedule.at(state_.step);
    try {
      runner_.step(batches, learning_rate);
    } catch (const c10::OutOfMemoryError& e) {
      int64_t rows = 0, seqlen = 0;  // of the largest micro-batch
      for (const auto& batch : batches) {
        if (batch.rows * batch.seqlen > rows * seqlen) rows = batch.rows, seqlen = batch.seqlen;
      }
      fail_out_of_memory(e, rows, seqlen);
    }
    ++state_.step;
    ++state_.steps_in_epoch;
    for (const auto& batch : batches) tokens += batch.n_tokens();

    const bool is_last = state_.steps_in_epoch == n_steps || is_finished();
    if (state_.step % options_.log_steps == 0 || is_last) {
      shown = runner_.take_statistics();
      const double seconds = std::chrono::duration<double>(Clock::now() - window_begin).count();
      tokens_per_second = static_cast<double>(tokens) / std::max(seconds, 1e-9);
      const double step_ms = 1e3 * seconds / static_cast<double>(std::max<int64_t>(state_.step - window_step, 1));
      tokens = 0;
      window_step = state_.step;
      window_begin = Clock::now();
      log.train({state_.epoch + 1, run_step(), shown.loss, learning_rate, shown.gradient_norm, tokens_per_second,
                 step_ms, peak_memory_bytes(device)});
      check_finite(shown, batches);
    }
    if (progress.is_due()) {
      const std::string tail =
          mpeft::str("lr ", scientific(learning_rate), "  ", human_bytes(peak_memory_bytes(device)));
      // Before the first statistics of an epoch there is no loss to show, and to fetch it would hold up the device.
      progress.update(state_.steps_in_epoch,
                      tokens_per_second > 0
                          ? mpeft::str("loss ", fixed(shown.loss, 3), "  grad ", fixed(shown.gradient_norm, 2), "  ",
                                       with_thousands(std::llround(tokens_per_second)), " tok/s  ", tail)
                          : tail);
    }
    if (InterruptGuard::requested() && !is_last) {
      progress.clear();
      save_checkpoint();
      throw Interrupted(
          mpeft::str("interrupted after step ", run_step(),
                     options_.no_save ? "; nothing was saved (no_save)" : "; the run is saved: add --resume to go on"));
    }
  }
  progress.clear();
  const int64_t epoch = state_.epoch + 1;  // also where max_steps ends within it
  if (state_.steps_in_epoch == n_steps) {
    ++state_.epoch;
    state_.steps_in_epoch = 0;
  }
  log::info(mpeft::str(stage_text(options_.stage), "epoch ", epoch, "/", options_.num_epochs, "  step ",
                       with_thousands(run_step()), "  loss ", fixed(shown.loss, 4), "  ",
                       with_thousands(std::llround(tokens_per_second)), " tok/s  ",
                       human_bytes(peak_memory_bytes(device))));
  save_checkpoint();
  if (is_evaluation_due()) evaluate(log);
  // After a stage's last step too: the next one would start as if nobody had asked to stop.
  if (InterruptGuard::requested() && !(is_finished() && options_.stage.is_last())) {
    throw Interrupted(mpeft::str("interrupted after epoch ", state_.epoch, ": add --resume to go on"));
  }
}

void Trainer::fail_out_of_memory(const c10::OutOfMemoryError& error, int64_t rows, int64_t seqlen) const {
  throw Error(ExitCode::kInternal,
              out_of_memory_message({.step = run_step(),
                                     .rows = rows,
                                     .seqlen = seqlen,
                                     .batch_size = options_.batch_size,
                                     .gradient_accumulation_steps = options_.gradient_accumulation_steps,
                                     .output_dir = options_.output_dir},
                                    error.what_without_backtrace()));
}

void Trainer::check_finite(const StepStatistics& statistics, const std::vector<data::Batch>& batches) {
  if (statistics.consecutive_bad < kMaxConsecutiveBad) return;
  std::string where = first_not_finite(model_, batches.front());
  if (where.empty()) where = "the loss or a gradient (every layer's output is finite)";
  const auto latest = checkpoint::latest_training_folder(options_.output_dir);
  throw TrainingStopped(mpeft::str(
      "step ", run_step(), ": loss or gradient not finite for ", statistics.consecutive_bad,
      " steps; first not finite: ", where, latest ? "\n  the last checkpoint is intact: " + latest->path.string() : "",
      not_finite_advice(model_->compute_dtype, options_.learning_rate, options_.adamw.max_grad_norm)));
}

void Trainer::evaluate(MetricsLog& log) {
  if (!hooks_.evaluate) return;
  const auto begin = std::chrono::steady_clock::now();
  model_->eval();
  std::map<std::string, double> metrics;
  {
    const torch::NoGradGuard no_grad;
    const auto run = [&] { metrics = hooks_.evaluate(run_step()); };
    try {
      try {
        run();
      } catch (const c10::OutOfMemoryError&) {
        if (!runner_.give_up_graphs()) throw;
        log::warning("out of GPU memory with CUDA graphs: training goes on without them");
        run();  // with the memory that the graphs held
      }
    } catch (const c10::OutOfMemoryError& e) {
      fail_out_of_memory(e, 0, 0);
    }
  }
  model_->train();
  if (metrics.empty()) return;
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  log.eval(state_.epoch, run_step(), metrics, seconds);
  std::string line;
  for (const auto& [name, value] : metrics) line += mpeft::str("  ", name, " ", fixed(value, 4));
  log::info(mpeft::str("eval  epoch ", state_.epoch, "  step ", with_thousands(run_step()), line, "  (",
                       human_duration(seconds), ")"));

  const auto floor = options_.min_metric_after_epoch.find(state_.epoch);
  if (floor != options_.min_metric_after_epoch.end() && metrics.contains(options_.first_metric) &&
      metrics.at(options_.first_metric) < floor->second) {
    throw TrainingStopped(mpeft::str(options_.first_metric, " is ", fixed(metrics.at(options_.first_metric), 4),
                                     " after epoch ", state_.epoch, ", below the ", floor->second,
                                     " that min_eval_metric_after_epoch asks for"));
  }
}

void Trainer::save_checkpoint() {
  if (options_.no_save) return;
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
  std::vector<int64_t> keep;
  if (const auto best = best_step()) keep.push_back(*best);
  checkpoint::prune_training_folders(options_.output_dir, options_.save_total_limit, keep);
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
