#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <c10/util/Exception.h>

#include "mpeft/checkpoint/training_folder.h"
#include "mpeft/data/example.h"
#include "mpeft/model/mamba_lm.h"
#include "mpeft/optim/adamw.h"
#include "mpeft/optim/schedule.h"
#include "mpeft/train/metrics_log.h"
#include "mpeft/train/no_room.h"
#include "mpeft/train/step_runner.h"

namespace mpeft::train {

/// A part of a run whose method trains in several, one after the other.
struct RunStage {
  int64_t number = 1;
  int64_t count = 1;           ///< stages of the run; 1: nothing is said about stages anywhere
  std::string label;           ///< for people: "SD_LORA stage 1 of 2 (warm-up)"
  int64_t steps = 0;           ///< optimizer steps of this stage; 0: as many as num_epochs and max_steps say
  int64_t steps_before = 0;    ///< optimizer steps of the stages before; files and metrics count on from there
  int64_t schedule_steps = 0;  ///< steps over which the learning rate moves; 0: those of this stage
  bool is_last() const { return number == count; }
};

struct TrainerOptions {
  RunStage stage;
  std::string method;  ///< what trains, in full: a checkpoint of another method is not continued
  int64_t num_epochs = 10;
  int64_t max_steps = 0;                    ///< end after so many optimizer steps; 0: num_epochs alone decides
  int64_t batch_size = 4;                   ///< rows of a micro-batch
  int64_t gradient_accumulation_steps = 1;  ///< micro-batches of an optimizer step
  uint64_t seed = 42;
  text::TokenId pad_id = 0;
  optim::AdamWOptions adamw;
  optim::Schedule::Shape schedule = optim::Schedule::Shape::kLinear;
  double learning_rate = 5e-4;
  int64_t warmup_steps = 0;
  bool use_loss_scale = false;  ///< fp16
  bool use_graphs = true;       ///< on a GPU; see StepRunner
  int64_t log_steps = 10;       ///< optimizer steps between lines of metrics.jsonl
  int64_t eval_epochs = 1;      ///< evaluate after every so many epochs, and after the last; 0: never
  bool eval_before_training = false;
  /// Also save within an epoch when the last checkpoint is so old; 0: never. The next checkpoint takes its place.
  double save_minutes = 30;
  int64_t save_total_limit = 2;  ///< checkpoints kept beside the best one; 0: all
  bool no_save = false;
  /// Stop when the first metric is below this in the first evaluation at or after that epoch.
  std::map<int64_t, double> min_metric_after_epoch;
  std::string first_metric;  ///< which metric that is
  std::filesystem::path output_dir;

  /// Optimizer steps that `n_examples` take once, and of the whole training (without what a stage says).
  int64_t steps_per_epoch(int64_t n_examples) const;
  int64_t all_steps(int64_t n_examples) const;
};

/// How far a run is; saved in `state.json` of a checkpoint.
struct TrainState {
  int64_t epoch = 0;           ///< epochs finished
  int64_t steps_in_epoch = 0;  ///< optimizer steps done of the next epoch
  int64_t step = 0;            ///< optimizer steps done in this stage
};

/// What the trainer asks its owner to do.
struct TrainerHooks {
  /// Metrics of the validation split after `step` optimizer steps of the run; empty: no evaluation.
  std::function<std::map<std::string, double>(int64_t step)> evaluate;
  /// Writes the trained weights into a checkpoint folder that is being filled.
  std::function<void(const std::filesystem::path& folder)> save_weights;
};

/// Trains: epochs over shuffled data, evaluation, checkpoints, resume. Everything random comes from the seed and the
/// position (epoch, step), so a resumed run takes the same steps, bit for bit, as one that was never stopped.
class Trainer {
 public:
  /// `parameters`: what trains, under its names in the model. `examples` must outlive the trainer.
  Trainer(model::MambaLM model, std::vector<optim::TrainedParameter> parameters,
          const std::vector<data::Example>& examples, TrainerOptions options, TrainerHooks hooks);

  /// Continues from a checkpoint whose weights the owner has loaded. Throws CheckpointError when it belongs to other
  /// data or settings.
  void resume(const checkpoint::TrainingFolder& folder);

  /// Trains to the end. No checkpoint is written while what trains is not finite or gives no finite outputs. Throws
  /// TrainingStopped, at the end also for that, or Interrupted after saving a checkpoint.
  void run();

  int64_t steps_per_epoch() const;
  /// Optimizer steps of this stage.
  int64_t total_steps() const;
  const TrainState& state() const { return state_; }

 private:
  using Clock = std::chrono::steady_clock;
  /// The steps since the last line of metrics.jsonl.
  struct Window {
    Clock::time_point begin = Clock::now();
    int64_t steps = 0, tokens = 0;
  };
  /// What that line said.
  struct Report {
    StepStatistics statistics;
    double tokens_per_second = 0;
  };

  void train();
  void run_epoch(MetricsLog& log);
  void take_step(const std::vector<data::Batch>& batches, double learning_rate);
  Report report(MetricsLog& log, const Window& window, double learning_rate);
  std::string progress_text(const Report& shown, double learning_rate) const;
  void end_epoch(MetricsLog& log, const Report& shown);
  std::vector<data::Batch> step_batches(const std::vector<int64_t>& order, int64_t step_in_epoch) const;
  void evaluate(MetricsLog& log);
  std::map<std::string, double> run_evaluation();
  bool is_finished() const;
  bool is_evaluation_due() const;
  void evaluate_if_missing(MetricsLog& log);
  void check_floors() const;
  void check_finite(const StepStatistics& statistics, const std::vector<data::Batch>& batches);
  [[noreturn]] void fail_out_of_memory(const c10::OutOfMemoryError& error, int64_t rows, int64_t seqlen) const;
  int64_t run_step() const { return options_.stage.steps_before + state_.step; }

  // trainer_checkpoints.cpp
  bool is_save_due() const;
  bool has_sound_weights();
  void save_checkpoint();
  void prune_checkpoints() const;
  std::string intact_checkpoint_text(int64_t n_bad) const;
  [[noreturn]] void stop_interrupted(const std::string& when) const;
  NoRoomPlace room_needed();
  std::string fingerprint() const;

  model::MambaLM model_;
  const std::vector<data::Example>& examples_;
  TrainerOptions options_;
  TrainerHooks hooks_;
  StepRunner runner_;
  TrainState state_;
  data::Batch last_batch_, batch_before_;  // a micro-batch of the last step, and of the one before it
  std::optional<int64_t> save_in_epoch_;   // the run's step of the last checkpoint, if that is within an epoch
  Clock::time_point last_save_ = Clock::now();
  bool has_warned_not_finite_ = false;
};

/// The stage that a checkpoint was written in, from its `state.json`; 1 in a run without stages. Throws
/// CheckpointError.
int64_t stage_of(const checkpoint::TrainingFolder& folder);

}  // namespace mpeft::train
