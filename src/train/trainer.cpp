#include "mpeft/train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

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

#include "train/metric_floors.h"
#include "train/not_finite.h"
#include "train/out_of_memory.h"

namespace mpeft::train {
namespace {

std::string scientific(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1e", value);
  return text;
}

// What starts the lines of a stage: nothing in a run without stages.
std::string stage_text(const RunStage& stage) { return stage.count > 1 ? stage.label + "  " : ""; }

constexpr int64_t kMaxConsecutiveBad = 10;

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
  with_no_room_advice([this] { return room_needed(); }, [this] { train(); });
}

void Trainer::train() {
  const InterruptGuard interrupt;
  last_save_ = Clock::now();
  MetricsLog log(options_.output_dir / "metrics.jsonl", run_step(),
                 options_.stage.count > 1 ? options_.stage.number : 0);
  check_floors();
  evaluate_if_missing(log);
  while (!is_finished()) run_epoch(log);
}

void Trainer::run_epoch(MetricsLog& log) {
  const auto order = permutation(static_cast<int64_t>(examples_.size()),
                                 derive_seed(options_.seed, "shuffle", static_cast<uint64_t>(state_.epoch)));
  const int64_t n_steps = steps_per_epoch();
  const optim::Schedule schedule{options_.schedule, options_.learning_rate, options_.warmup_steps,
                                 options_.stage.schedule_steps > 0 ? options_.stage.schedule_steps : total_steps()};
  const int64_t steps_left = total_steps() - state_.step;
  const int64_t last_in_epoch = std::min(n_steps, state_.steps_in_epoch + steps_left);
  Progress progress(mpeft::str(stage_text(options_.stage), "epoch ", state_.epoch + 1, "/", options_.num_epochs),
                    last_in_epoch, state_.steps_in_epoch, steps_left - (last_in_epoch - state_.steps_in_epoch));

  model_->train();
  Report shown;
  Window window;
  while (state_.steps_in_epoch < n_steps && !is_finished()) {
    const auto batches = step_batches(order, state_.steps_in_epoch);
    const double learning_rate = schedule.at(state_.step);
    take_step(batches, learning_rate);
    batch_before_ = std::exchange(last_batch_, batches.front());
    ++window.steps;
    for (const auto& batch : batches) window.tokens += batch.n_tokens();

    const bool is_last = state_.steps_in_epoch == n_steps || is_finished();
    if (state_.step % options_.log_steps == 0 || is_last) {
      shown = report(log, window, learning_rate);
      window = {};
      check_finite(shown.statistics, batches);
    }
    if (progress.is_due()) progress.update(state_.steps_in_epoch, progress_text(shown, learning_rate));
    if (is_last) break;
    if (InterruptGuard::requested()) {
      progress.clear();
      save_checkpoint();
      stop_interrupted(mpeft::str("after step ", run_step()));
    }
    if (is_save_due()) {
      const auto begin = Clock::now();
      save_checkpoint();
      window.begin += Clock::now() - begin;  // no time of a step's
    }
  }
  progress.clear();
  end_epoch(log, shown);
}

void Trainer::take_step(const std::vector<data::Batch>& batches, double learning_rate) {
  // Dropout's numbers hang on the step alone: a resumed run draws the same ones.
  seed_generators(model_->device(), derive_seed(options_.seed, "dropout", static_cast<uint64_t>(state_.step)));
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
}

Trainer::Report Trainer::report(MetricsLog& log, const Window& window, double learning_rate) {
  const StepStatistics statistics = runner_.take_statistics();
  const double seconds = std::chrono::duration<double>(Clock::now() - window.begin).count();
  const double tokens_per_second = static_cast<double>(window.tokens) / std::max(seconds, 1e-9);
  const double step_ms = 1e3 * seconds / static_cast<double>(std::max<int64_t>(window.steps, 1));
  log.train({state_.epoch + 1, run_step(), statistics.loss, learning_rate, statistics.gradient_norm, tokens_per_second,
             step_ms, peak_memory_bytes(model_->device())});
  return {statistics, tokens_per_second};
}

std::string Trainer::progress_text(const Report& shown, double learning_rate) const {
  const std::string tail =
      mpeft::str("lr ", scientific(learning_rate), "  ", human_bytes(peak_memory_bytes(model_->device())));
  // Before the first statistics of an epoch there is no loss to show, and to fetch it would hold up the device.
  if (shown.tokens_per_second <= 0) return tail;
  return mpeft::str("loss ", fixed(shown.statistics.loss, 3), "  grad ", fixed(shown.statistics.gradient_norm, 2), "  ",
                    with_thousands(std::llround(shown.tokens_per_second)), " tok/s  ", tail);
}

void Trainer::end_epoch(MetricsLog& log, const Report& shown) {
  const int64_t epoch = state_.epoch + 1;  // also where max_steps ends within it
  if (state_.steps_in_epoch == steps_per_epoch()) {
    ++state_.epoch;
    state_.steps_in_epoch = 0;
  }
  log::info(mpeft::str(stage_text(options_.stage), "epoch ", epoch, "/", options_.num_epochs, "  step ",
                       with_thousands(run_step()), "  loss ", fixed(shown.statistics.loss, 4), "  ",
                       with_thousands(std::llround(shown.tokens_per_second)), " tok/s  ",
                       human_bytes(peak_memory_bytes(model_->device()))));
  save_checkpoint();
  if (is_evaluation_due()) evaluate(log);
  // After a stage's last step too: the next one would start as if nobody had asked to stop.
  if (InterruptGuard::requested() && !(is_finished() && options_.stage.is_last()))
    stop_interrupted(mpeft::str("after epoch ", epoch));
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

// Stops after many bad steps, and at the end where the weights are no result.
void Trainer::check_finite(const StepStatistics& statistics, const std::vector<data::Batch>& batches) {
  const int64_t n_bad = statistics.consecutive_bad;
  const bool ends_badly = is_finished() && !has_sound_weights();
  if (n_bad < kMaxConsecutiveBad && !ends_badly) return;
  std::string where = first_not_finite(model_, batches.front());
  if (where.empty()) where = "the loss or a gradient (every layer's output is finite)";
  throw TrainingStopped(
      mpeft::str("step ", run_step(), ends_badly ? ", the last: " : ": ",
                 n_bad == 0 ? std::string("a trained weight is not finite")
                            : mpeft::str("loss or gradient not finite for ", n_bad, n_bad == 1 ? " step" : " steps"),
                 "; first not finite: ", where, intact_checkpoint_text(n_bad),
                 not_finite_advice(model_->compute_dtype, options_.learning_rate, options_.adamw.max_grad_norm)));
}

std::map<std::string, double> Trainer::run_evaluation() {
  const torch::NoGradGuard no_grad;
  try {
    try {
      return hooks_.evaluate(run_step());
    } catch (const c10::OutOfMemoryError&) {
      if (!runner_.give_up_graphs()) throw;
    }
    log::warning("out of GPU memory with CUDA graphs: training goes on without them");
    return hooks_.evaluate(run_step());  // with the memory that the graphs held
  } catch (const c10::OutOfMemoryError& e) {
    fail_out_of_memory(e, 0, 0);
  } catch (const Interrupted&) {
    stop_interrupted(mpeft::str("during the evaluation after step ", run_step()));
  }
}

void Trainer::evaluate(MetricsLog& log) {
  if (!hooks_.evaluate) return;
  const auto begin = Clock::now();
  model_->eval();
  const auto metrics = run_evaluation();
  model_->train();
  if (metrics.empty()) return;
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  log.eval(state_.epoch, run_step(), metrics, seconds);
  std::string line;
  for (const auto& [name, value] : metrics) line += mpeft::str("  ", name, " ", fixed(value, 4));
  log::info(mpeft::str("eval  epoch ", state_.epoch, "  step ", with_thousands(run_step()), line, "  (",
                       human_duration(seconds), ")"));
  check_floors();
}

// Also before the first step: a run that a floor stopped does not train on when it is resumed.
void Trainer::check_floors() const {
  if (!hooks_.evaluate || options_.min_metric_after_epoch.empty()) return;
  const std::string reason = below_floor(read_eval_lines(options_.output_dir / "metrics.jsonl"), options_.first_metric,
                                         options_.min_metric_after_epoch);
  if (!reason.empty()) throw TrainingStopped(reason);
}

}  // namespace mpeft::train
