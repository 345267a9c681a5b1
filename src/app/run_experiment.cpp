#include "app/run_experiment.h"

#include <filesystem>
#include <optional>
#include <span>

#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"
#include "mpeft/core/logging.h"
#include "mpeft/core/strings.h"
#include "mpeft/eval/predictions.h"
#include "mpeft/model/precision.h"
#include "mpeft/train/device.h"
#include "mpeft/train/no_room.h"
#include "mpeft/train/trainer.h"

#include "app/evaluate_split.h"
#include "app/experiment_data.h"
#include "app/manifest.h"
#include "app/model_options.h"
#include "app/overview.h"
#include "app/results_table.h"
#include "app/run_entry.h"
#include "app/stages.h"
#include "app/trained_model.h"

namespace mpeft::app {
namespace {

namespace sfs = std::filesystem;

// Without what hangs on the data and on the method.
train::TrainerOptions trainer_options(const config::ExperimentConfig& config) {
  train::TrainerOptions options;
  options.num_epochs = config.num_epochs;
  options.max_steps = config.max_steps;
  options.batch_size = config.batch_size;
  options.gradient_accumulation_steps = config.gradient_accumulation_steps;
  options.seed = config.seed;
  options.adamw.weight_decay = config.weight_decay;
  options.adamw.max_grad_norm = config.max_grad_norm;
  options.schedule = optim::schedule_shape_from_string(config.lr_scheduler);
  options.learning_rate = config.learning_rate;
  options.warmup_steps = config.warmup_steps;
  options.use_loss_scale = model::dtype_from_string(config.prec) == at::kHalf;
  options.use_graphs = config.cuda_graphs;
  options.log_steps = config.log_steps;
  options.save_minutes = config.save_minutes;
  options.save_total_limit = config.save_total_limit;
  options.no_save = config.no_save;
  options.min_metric_after_epoch = config.min_eval_metric_after_epoch;
  options.output_dir = config.output_dir;
  return options;
}

// How a run entered its folder is not the experiment's: loaded again, the folder's cfg.yaml must not erase it.
config::ExperimentConfig without_entry_flags(config::ExperimentConfig config) {
  config.resume = config.overwrite = config.lock = false;
  return config;
}

// One run: its inputs, read and checked by the constructor, and what is done with them.
class ExperimentRun {
 public:
  // folder: null for a dry run, which writes nothing.
  ExperimentRun(const config::ExperimentConfig& config, const train::RunFolder* folder)
      : config_(config),
        folder_(folder),
        output_dir_(config.output_dir),
        device_(experiment_device(config)),
        tokenizer_(open_tokenizer(config)),
        train_(read_split(config, *tokenizer_.tokenizer, /*for_training=*/true)) {
    const bool evaluates = has_evaluation(config, train_.text);
    check_evaluation(train_.text, *tokenizer_.tokenizer, evaluates);
    if (evaluates) {
      validation_ = read_split(config, *tokenizer_.tokenizer, /*for_training=*/false);
      if (!config.val_data.empty()) check_evaluation(validation_->text, *tokenizer_.tokenizer, evaluates);
      check_references(validation_->tokens);
    }
    if (folder != nullptr) latest_ = checkpoint_to_resume(*folder, config);
    options_ = trainer_options(config);
    options_.pad_id = tokenizer_.tokenizer->eos_id();
    if (evaluates && !validation_->text.metrics.empty())
      options_.first_metric = main_score(validation_->text.metrics.front());
    make_subject();
    if (config.overwrite) require_inputs_outside(train::RunFolder::look(output_dir_), inputs());
    plan_stages();
  }

  void run() {
    for (size_t i = first_stage(); i < stages_.size(); ++i) {
      prepare_stage(i);
      train::Trainer trainer(subject_.model, subject_.parameters(), train_.tokens.examples, options_, hooks());
      begin_stage(i, trainer);
      trainer.run();
      if (!stages_[i].is_last()) make_next_subject();
    }
    finish();
  }

  // Everything up to the first step, but for the optimizer, which is three times as large as what trains.
  void show() {
    const size_t i = first_stage();
    prepare_stage(i);
    log_begin(i);
  }

 private:
  // Files that the run reads.
  std::vector<sfs::path> inputs() const {
    std::vector<sfs::path> files = data_files();
    files.insert(files.end(), subject_.source.weight_files.begin(), subject_.source.weight_files.end());
    files.insert(files.end(), config_.peft.begin(), config_.peft.end());
    files.emplace_back(tokenizer_.path);
    return files;
  }

  std::vector<sfs::path> data_files() const {
    std::vector<sfs::path> files(train_.text.source_files.begin(), train_.text.source_files.end());
    if (validation_) {
      const auto& more = validation_->text.source_files;
      files.insert(files.end(), more.begin(), more.end());
    }
    return files;
  }

  int64_t n_examples() const { return static_cast<int64_t>(train_.tokens.examples.size()); }

  void make_subject() {
    auto method = make_method(config_);
    options_.method = method_fingerprint(method.get());
    if (latest_ && method && train::stage_of(*latest_) > peft::stage_of(*method).number)
      method = make_saved_method(latest_->path);
    subject_ = make_trained_model(config_, std::move(method), /*dry_run=*/folder_ == nullptr);
    const int64_t n_ids = tokenizer_.tokenizer->vocab_size(), n_rows = subject_.model->config().vocab_size;
    if (n_ids > n_rows) {
      throw ConfigError(mpeft::str(config_.path, ": the tokenizer (", tokenizer_.path, ") has ", n_ids,
                                   " ids, the model an embedding of ", n_rows, " rows: they do not belong together"));
    }
  }

  // After a stage that is not the last: the next one starts from the base model.
  void make_next_subject() {
    auto next = peft::make_peft_method(peft::next_stage_json(*subject_.method), join(config_.peft, ", "));
    subject_ = TrainedModel();  // before the next copy of the base is loaded
    subject_ = make_trained_model(config_, std::move(next), /*dry_run=*/false);
  }

  void plan_stages() {
    check_warmup();
    if (!subject_.method) {  // full fine-tuning
      stages_.resize(1);
      return;
    }
    const std::string adapter_files = join(config_.peft, ", ");
    summaries_ = summarize_stages(make_method(config_), subject_.model->config(), adapter_files);
    stages_ =
        run_stages(subject_.method->type(), summaries_, options_.all_steps(n_examples()), config_.debug, adapter_files);
  }

  // The configuration alone knows it only from max_steps.
  void check_warmup() const {
    const int64_t all_steps = options_.all_steps(n_examples());
    if (config_.debug || config_.warmup_steps < all_steps) return;
    const std::string problem =
        mpeft::str(config_.path, ": warmup_steps: the warm-up of ", with_thousands(config_.warmup_steps),
                   " steps never ends: the training has ", with_thousands(all_steps), " steps (num_epochs ",
                   config_.num_epochs, ", ", with_thousands(n_examples()), " examples)");
    if (!latest_) throw ConfigError(problem);
    log::warning(problem);  // a run that began so goes on so
  }

  // Stages that the checkpoint is past are not run again.
  size_t first_stage() const {
    size_t i = 0;
    while (subject_.method && stages_[i].number < peft::stage_of(*subject_.method).number) ++i;
    return i;
  }

  void prepare_stage(size_t i) {
    model::place_parameters(subject_.model, device_, model::dtype_from_string(config_.prec), config_.master_weights,
                            subject_.has_values);
    options_.stage = stages_[i];
    // Scores are those of the method, so a warm-up is not evaluated; what comes after it starts from the base again,
    // whose score is there.
    options_.eval_epochs = stages_[i].is_last() ? config_.eval_epochs : 0;
    options_.eval_before_training = config_.eval_before_training && i == 0;
  }

  // The method's stages from stage i on; of full fine-tuning none.
  std::span<const StageSummary> summaries_from(size_t i) const {
    return std::span(summaries_).subspan(subject_.method ? i : 0);
  }

  void log_begin(size_t i) {
    log_overview(config_, subject_, summaries_from(i), train_, validation_ ? &*validation_ : nullptr, device_,
                 options_.steps_per_epoch(n_examples()));
  }

  // The run's first stage begins the run; each of the others says that the one before it is done.
  void begin_stage(size_t i, train::Trainer& trainer) {
    const bool is_first = !has_begun_, goes_on = latest_.has_value();
    has_begun_ = true;
    if (is_first) {
      if (config_.overwrite) {  // not before everything is in place for the new run
        folder_->clear();
        log::log_to_file((output_dir_ / "log.txt").string());
      }
      log_begin(i);
    } else {
      const auto& before = stages_[i - 1];
      log::info(mpeft::str(before.label, " is done after ", with_thousands(before.steps),
                           " steps; the next starts from the base model"));
      log_method(subject_.method->type(), summaries_from(i));
    }
    if (goes_on) {
      trainer.resume(*latest_);  // first: it says when the checkpoint is another method's
      load_weights(subject_, latest_->path);
      log::info(mpeft::str("resuming from ", latest_->path.string(), " (",
                           stages_[i].count > 1 ? stages_[i].label + ", " : "", "epoch ", trainer.state().epoch,
                           ", step ", stages_[i].steps_before + trainer.state().step, ")"));
      latest_.reset();
    }
    if (is_first) write_run_files(goes_on);
  }

  train::TrainerHooks hooks() {
    train::TrainerHooks hooks;
    hooks.save_weights = [this](const sfs::path& folder) {
      app::save_weights(subject_, config_, tokenizer_.path, folder);
    };
    if (!validation_) return hooks;
    hooks.evaluate = [this](int64_t step) {
      const auto result = evaluate_split(subject_.model, *tokenizer_.tokenizer, validation_->tokens, config_);
      const auto format = eval::predictions_format_from_string(config_.predictions_format);
      eval::write_predictions(output_dir_ / mpeft::str("predictions-", step, eval::file_extension(format)),
                              result.predictions, format);
      return result.scores;
    };
    return hooks;
  }

  void write_run_files(bool goes_on) {
    const auto report = summaries_.empty() ? peft::report_trainable(subject_.model) : summaries_.back().report;
    Manifest manifest{config_,
                      subject_.source,
                      data_files(),
                      tokenizer_.tokenizer->fingerprint(),
                      subject_.model->config().to_json(),
                      train::describe_device(device_),
                      report.n_trainable,
                      report.n_total,
                      stages_.back().steps_before + options_.all_steps(n_examples()),
                      options_.first_metric,
                      {}};
    for (const auto& [stage, counts] : summaries_) {
      if (stage.count > 1) manifest.stages.push_back({stage, counts.n_trainable, counts.n_total});
    }
    write_manifest(manifest, goes_on);
    fs::write_file_atomic(output_dir_ / "cfg.yaml", config::dump_yaml(without_entry_flags(config_)));
  }

  void finish() {
    const sfs::path result = output_dir_ / config::result_folder(config_);
    if (!config_.no_save) {
      train::with_no_room_advice(
          [&] {
            return train::NoRoomPlace{output_dir_, 0, config_.save_total_limit};
          },
          [&] { save_weights(subject_, config_, tokenizer_.path, output_dir_); });
      log::info("saved " + result.string());
    }
    mark_finished(output_dir_);
    for (const auto& line : results_table(output_dir_ / "metrics.jsonl", options_.first_metric)) log::info(line);
    if (config_.no_save) return;
    ModelOptions use;
    use.model = subject_.method ? config_.model : result.string();
    if (subject_.method) use.adapter = result.string();
    if (subject_.method && subject_.source.weight_files.empty()) use.seed = config_.seed;  // draws the same base
    if (!finds_tokenizer(use, *tokenizer_.tokenizer)) use.tokenizer = tokenizer_.path;
    log::info("use it: " + generate_command(use));
  }

  const config::ExperimentConfig& config_;
  const train::RunFolder* const folder_;
  const sfs::path output_dir_;
  const at::Device device_;
  const ExperimentTokenizer tokenizer_;
  const TokenizedSplit train_;
  std::optional<TokenizedSplit> validation_;          // none: no evaluation
  std::optional<checkpoint::TrainingFolder> latest_;  // what the run goes on from, until it does
  train::TrainerOptions options_;
  TrainedModel subject_;
  std::vector<StageSummary> summaries_;  // of the method's stages; none: full fine-tuning
  std::vector<train::RunStage> stages_;  // as the trainer sees them, one at least
  bool has_begun_ = false;
};

}  // namespace

int run_experiment(const config::ExperimentConfig& asked, bool dry_run) {
  const config::ExperimentConfig config = over_debug_run(asked);
  if (dry_run) {
    if (finished_before(train::RunFolder::look(config.output_dir), config))
      log::info("a run would do nothing: " + config.output_dir + ": already finished; --overwrite starts anew");
    ExperimentRun(config, nullptr).show();
    log::info("dry run: everything is in place; nothing was written");
    return 0;
  }
  const auto folder = enter_run_folder(config);
  if (!folder) return 0;
  if (!config.overwrite) log::log_to_file((sfs::path(config.output_dir) / "log.txt").string());
  ExperimentRun(config, folder.get()).run();
  return 0;
}

}  // namespace mpeft::app
