#include "app/run_experiment.h"

#include <algorithm>
#include <filesystem>
#include <span>

#include "mpeft/checkpoint/adapter_folder.h"
#include "mpeft/checkpoint/training_folder.h"
#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"
#include "mpeft/core/logging.h"
#include "mpeft/core/strings.h"
#include "mpeft/eval/predictions.h"
#include "mpeft/model/factory.h"
#include "mpeft/model/precision.h"
#include "mpeft/peft/adapter.h"
#include "mpeft/peft/trainable_report.h"
#include "mpeft/train/device.h"
#include "mpeft/train/run_folder.h"
#include "mpeft/train/trainer.h"

#include "app/evaluate_split.h"
#include "app/experiment_data.h"
#include "app/manifest.h"
#include "app/results_table.h"
#include "app/stages.h"

namespace mpeft::app {
namespace {

namespace sfs = std::filesystem;

constexpr size_t kDebugExamples = 16;

// The model with what trains on it.
struct Subject {
  model::MambaLM model{nullptr};
  model::ModelSource source;
  bool has_values = true;                    // false: random weights that nobody has drawn
  std::unique_ptr<peft::PeftMethod> method;  // null: full fine-tuning
};

// One split, tokenised.
struct Split {
  data::TextDataset text;
  data::TokenizedDataset tokens;
};

Split read_split(const config::ExperimentConfig& config, const text::Tokenizer& tokenizer, bool for_training) {
  Split split;
  split.text = data::read_dataset(dataset_request(config, for_training));
  if (config.debug && split.text.examples.size() > kDebugExamples) split.text.examples.resize(kDebugExamples);
  split.tokens = tokenize_dataset(config, split.text, tokenizer, for_training);
  require_examples(config, split.text, split.tokens, for_training ? "training" : "evaluation");
  return split;
}

// What the experiment file asks for; null: full fine-tuning.
std::unique_ptr<peft::PeftMethod> make_method(const config::ExperimentConfig& config) {
  if (config.peft.empty()) return nullptr;
  return peft::make_peft_method_from_files({config.peft.begin(), config.peft.end()});
}

// What a checkpoint's adapter was trained by: in the second stage of a method, that with its selection.
std::unique_ptr<peft::PeftMethod> make_saved_method(const sfs::path& checkpoint) {
  const auto file = checkpoint / "adapter" / "adapter_config.json";
  return peft::make_peft_method_from_files({file});
}

// Names a method with all its settings: what a checkpoint must agree with to be continued.
std::string fingerprint(const peft::PeftMethod& method) {
  return method.type() + " " + fs::sha256(method.config_json("")).substr(0, 16);
}

// A dry run draws no random weights: nothing asks for their values.
Subject make_subject(const config::ExperimentConfig& config, std::unique_ptr<peft::PeftMethod> method,
                     bool dry_run = false) {
  Subject subject;
  auto loaded = model::make_model(config.model, config.seed, /*with_random_values=*/!dry_run);
  subject.model = loaded.model;
  subject.source = loaded.source;
  subject.has_values = !dry_run || !subject.source.weight_files.empty();
  subject.method = std::move(method);
  if (subject.method && subject.has_values) {
    subject.method->inject(subject.model, config.seed);
  } else if (subject.method) {
    subject.method->inject_shapes(subject.model);
  } else {
    for (auto& parameter : subject.model->parameters()) parameter.set_requires_grad(true);
  }
  return subject;
}

// "tokens p50 412 p95 987 max 1,536   labels 6.1 %": how long, and how much of it carries loss.
std::string length_summary(const std::vector<data::Example>& examples) {
  std::vector<int64_t> lengths;
  int64_t n_tokens = 0, n_labels = 0;
  for (const auto& example : examples) {
    lengths.push_back(static_cast<int64_t>(example.ids.size()));
    n_tokens += lengths.back();
    n_labels += lengths.back() - example.prompt_length;
  }
  std::sort(lengths.begin(), lengths.end());
  return mpeft::str("tokens p50 ", with_thousands(lengths[lengths.size() / 2]), " p95 ",
                    with_thousands(lengths[lengths.size() * 95 / 100]), " max ", with_thousands(lengths.back()),
                    "   labels ", fixed(100.0 * static_cast<double>(n_labels) / static_cast<double>(n_tokens), 1),
                    " %");
}

void print_line(std::string_view name, const std::string& text) {
  log::info(mpeft::str(name, std::string(12 - std::min<size_t>(name.size(), 11), ' '), text));
}

std::string trainable_text(const peft::TrainableReport& report) {
  return mpeft::str(with_thousands(report.n_trainable), " trainable = ", fixed(100 * report.share(), 3), " %");
}

void print_coverage(const peft::TrainableReport& report) {
  for (const auto& covered : report.coverage()) print_line("", covered);
}

// `stages`: those of the method, from the one that starts here on.
void print_method(const std::string& type, std::span<const StageSummary> stages) {
  for (size_t i = 0; i < stages.size(); ++i) {
    const std::string stage = stage_text(stages[i].stage);
    print_line(i == 0 ? "adapter" : "", mpeft::str(i == 0 ? type : "then", stage.empty() ? "" : " ", stage, "   ",
                                                   trainable_text(stages[i].report)));
    print_coverage(stages[i].report);
  }
}

// What is known before the first step: the weights as they lie on the device; of what trains also the gradient and
// AdamW's two moments, each as large.
std::string memory_summary(const model::MambaLM& model) {
  uint64_t weights = 0, training = 0;
  for (const auto& parameter : model->parameters()) {
    weights += parameter.nbytes();
    if (parameter.requires_grad()) training += 3 * parameter.nbytes();
  }
  return mpeft::str("weights ", human_bytes(weights), "   gradients and optimizer ", human_bytes(training),
                    "   activations come on top");
}

void print_overview(const config::ExperimentConfig& config, Subject& subject, std::span<const StageSummary> stages,
                    const Split& train, const Split* validation, at::Device device, int64_t steps_per_epoch) {
  const auto report = peft::report_trainable(subject.model);
  print_line("experiment", mpeft::str(config.path, "  →  ", config.output_dir));
  print_line("model",
             mpeft::str(subject.source.description, "   ", with_thousands(report.n_total), " weights   ", config.prec,
                        subject.source.weight_files.empty()
                            ? ""
                            : mpeft::str("   (", subject.source.weight_files.front().filename().string(),
                                         subject.source.weight_files.size() > 1 ? ", …)" : ")")));
  if (subject.method) {
    print_method(subject.method->type(), stages);
  } else {
    print_line("training", "full fine-tuning   " + trainable_text(report));
  }
  print_line(
      "data",
      mpeft::str(config.data, "   train ", with_thousands(static_cast<int64_t>(train.tokens.examples.size())), " (",
                 train.tokens.n_dropped, " dropped as too long)",
                 validation ? mpeft::str("   ", config.val_data_split, " ",
                                         with_thousands(static_cast<int64_t>(validation->tokens.examples.size())), " (",
                                         validation->tokens.n_dropped, " dropped)")
                            : "",
                 "   ", length_summary(train.tokens.examples)));
  for (const auto& note : train.text.notes) print_line("", note);
  if (validation) {
    for (const auto& note : validation->text.notes) print_line("", config.val_data_split + ": " + note);
  }
  print_line("step",
             mpeft::str("batch ", config.batch_size, " × accumulation ", config.gradient_accumulation_steps, ", ",
                        with_thousands(steps_per_epoch), " steps an epoch, ", config.num_epochs, " epochs"));
  print_line("memory", memory_summary(subject.model));
  print_line("device", train::describe_device(device));
}

std::vector<optim::TrainedParameter> trainable_parameters(Subject& subject) {
  std::vector<optim::TrainedParameter> parameters;
  for (const auto& parameter : peft::trained_parameters(subject.model, subject.method.get()))
    parameters.push_back({parameter.name, parameter.tensor, parameter.lr_scale, parameter.weight_decay});
  return parameters;
}

// Into an existing checkpoint or output folder: `adapter/`, or `model/` with the tokenizer beside it.
void save_weights(Subject& subject, const config::ExperimentConfig& config, const std::string& tokenizer_path,
                  const sfs::path& folder) {
  if (subject.method) {
    peft::save_adapter(*subject.method, config.model, folder / "adapter");
    return;
  }
  model::save_model(subject.model, folder / "model");
  const sfs::path tokenizer =
      sfs::is_directory(tokenizer_path) ? sfs::path(tokenizer_path) / "tokenizer.json" : sfs::path(tokenizer_path);
  if (tokenizer.extension() == ".json" && sfs::exists(tokenizer)) {
    fs::write_file_atomic(folder / "model" / "tokenizer.json", fs::read_file(tokenizer));
  }
}

void load_weights(Subject& subject, const sfs::path& folder) {
  if (!subject.method) return model::copy_weights(subject.model, folder / "model");
  const auto adapter = checkpoint::read_adapter_folder(folder / "adapter");
  peft::load_parameters(*subject.method, adapter.tensors, (folder / "adapter").string());
}

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

// Whether the folder holds all that the experiment would leave. Throws ConfigError when a run may not begin in it.
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
  if (config.resume && folder.has_checkpoint() && before) require_settings_to_resume(*before, config);
  if (folder.has_checkpoint() && !config.resume) {
    throw ConfigError(name +
                      ": holds an unfinished run: --resume goes on from its last checkpoint, --overwrite starts anew");
  }
  return false;
}

}  // namespace

int run_experiment(const config::ExperimentConfig& config, bool dry_run) {
  const sfs::path output_dir = config.output_dir, log_path = output_dir / "log.txt";
  std::unique_ptr<train::RunFolder> run;
  if (dry_run) {
    if (const auto folder = train::RunFolder::look(output_dir); finished_before(folder, config)) {
      log::info("a run would do nothing: " + output_dir.string() + ": already finished; --overwrite starts anew");
    }
  } else {
    run = train::RunFolder::open(output_dir);
    if (!run) {
      const std::string message = output_dir.string() + ": another process is running this experiment";
      if (!config.lock) throw ConfigError(message + "; --lock skips it, --output names another folder");
      log::info(message + "; skipped");
      return 0;
    }
    if (finished_before(*run, config)) {
      log::info(output_dir.string() + ": already finished; --overwrite starts anew");
      return 0;
    }
    if (!config.overwrite) {  // else the folder is cleared later, when everything is in place for the new run
      if (!run->has_checkpoint()) run->clear();  // what a run left that stopped before its first checkpoint
      log::log_to_file(log_path.string());
    }
  }

  const at::Device device = experiment_device(config);
  const auto dtype = model::dtype_from_string(config.prec);
  const auto [tokenizer, tokenizer_path] = open_tokenizer(config);
  const Split train_split = read_split(config, *tokenizer, /*for_training=*/true);
  const bool evaluates = has_evaluation(config, train_split.text);
  check_evaluation(train_split.text, *tokenizer, evaluates);
  std::optional<Split> validation;
  if (evaluates) {
    validation = read_split(config, *tokenizer, /*for_training=*/false);
    if (!config.val_data.empty()) check_evaluation(validation->text, *tokenizer, evaluates);
  }

  std::optional<checkpoint::TrainingFolder> latest;  // what the run goes on from
  if (config.resume && !dry_run) {
    latest = checkpoint::latest_training_folder(output_dir);
    if (!latest && run->has_checkpoint()) {
      throw CheckpointError(
          output_dir.string() +
          ": no checkpoint is intact (see above), so there is nothing to go on from; --overwrite starts anew");
    }
    if (!latest) log::info(output_dir.string() + ": no checkpoint to resume from; starting at the beginning");
  }
  auto method = make_method(config);
  const std::string method_id = method ? fingerprint(*method) : "";
  if (latest && method && train::stage_of(*latest) > peft::stage_of(*method).number)
    method = make_saved_method(latest->path);

  Subject subject = make_subject(config, std::move(method), dry_run);
  if (tokenizer->vocab_size() > subject.model->config().vocab_size) {
    throw ConfigError(mpeft::str(config.path, ": the tokenizer (", tokenizer_path, ") has ", tokenizer->vocab_size(),
                                 " ids, the model an embedding of ", subject.model->config().vocab_size,
                                 " rows: they do not belong together"));
  }
  train::TrainerOptions options;
  options.num_epochs = config.num_epochs;
  options.max_steps = config.max_steps;
  options.batch_size = config.batch_size;
  options.gradient_accumulation_steps = config.gradient_accumulation_steps;
  options.seed = config.seed;
  options.pad_id = tokenizer->eos_id();
  options.adamw.weight_decay = config.weight_decay;
  options.adamw.max_grad_norm = config.max_grad_norm;
  options.schedule = optim::schedule_shape_from_string(config.lr_scheduler);
  options.learning_rate = config.learning_rate;
  options.warmup_steps = config.warmup_steps;
  options.use_loss_scale = dtype == at::kHalf;
  options.use_graphs = config.cuda_graphs;
  options.log_steps = config.log_steps;
  options.eval_epochs = config.eval_epochs;
  options.eval_before_training = config.eval_before_training;
  options.save_total_limit = config.save_total_limit;
  options.no_save = config.no_save;
  options.min_metric_after_epoch = config.min_eval_metric_after_epoch;
  if (evaluates && !validation->text.metrics.empty())
    options.first_metric = main_score(validation->text.metrics.front());
  options.output_dir = output_dir;
  options.method = method_id;

  const auto n_examples = static_cast<int64_t>(train_split.tokens.examples.size());
  const std::string adapter_files = join(config.peft, ", ");
  std::vector<StageSummary> stages;  // none: full fine-tuning
  if (subject.method) stages = summarize_stages(make_method(config), subject.model->config(), adapter_files);
  const auto stages_to_run = subject.method ? run_stages(subject.method->type(), stages, options.all_steps(n_examples),
                                                         config.debug, adapter_files)
                                            : std::vector<train::RunStage>(1);

  train::TrainerHooks hooks;
  hooks.save_weights = [&](const sfs::path& folder) { save_weights(subject, config, tokenizer_path, folder); };
  if (evaluates) {
    hooks.evaluate = [&](int64_t step) {
      const auto result = evaluate_split(subject.model, *tokenizer, validation->tokens, config);
      const auto format = eval::predictions_format_from_string(config.predictions_format);
      eval::write_predictions(output_dir / mpeft::str("predictions-", step, eval::file_extension(format)),
                              result.predictions, format);
      return result.scores;
    };
  }

  const auto write_run_files = [&](bool goes_on) {
    std::vector<sfs::path> data_files(train_split.text.source_files.begin(), train_split.text.source_files.end());
    if (validation)
      data_files.insert(data_files.end(), validation->text.source_files.begin(), validation->text.source_files.end());
    const auto report = stages.empty() ? peft::report_trainable(subject.model) : stages.back().report;
    Manifest manifest{config,
                      subject.source,
                      data_files,
                      tokenizer->fingerprint(),
                      subject.model->config().to_json(),
                      train::describe_device(device),
                      report.n_trainable,
                      report.n_total,
                      stages_to_run.back().steps_before + options.all_steps(n_examples),
                      options.first_metric,
                      {}};
    for (const auto& [stage, counts] : stages) {
      if (stage.count > 1) manifest.stages.push_back({stage, counts.n_trainable, counts.n_total});
    }
    write_manifest(manifest, goes_on);
    fs::write_file_atomic(output_dir / "cfg.yaml", config::dump_yaml(config));
  };

  bool is_shown = false;
  for (size_t i = 0; i < stages_to_run.size(); ++i) {
    const auto& stage = stages_to_run[i];
    if (subject.method && stage.number < peft::stage_of(*subject.method).number) continue;  // the checkpoint is past it
    model::place_parameters(subject.model, device, dtype, config.master_weights, subject.has_values);
    options.stage = stage;
    // Scores are those of the method, so a warm-up is not evaluated; what comes after it starts from the base again,
    // whose score is there.
    options.eval_epochs = stage.is_last() ? config.eval_epochs : 0;
    options.eval_before_training = config.eval_before_training && i == 0;
    train::Trainer trainer(subject.model, trainable_parameters(subject), train_split.tokens.examples, options, hooks);
    const bool is_first = !is_shown;
    if (is_first) {
      if (config.overwrite && !dry_run) {
        run->clear();
        log::log_to_file(log_path.string());
      }
      print_overview(config, subject, std::span(stages).subspan(subject.method ? i : 0), train_split,
                     validation ? &*validation : nullptr, device, trainer.steps_per_epoch());
      is_shown = true;
      if (dry_run) {
        log::info("dry run: everything is in place; nothing was written");
        return 0;
      }
    } else {
      log::info(mpeft::str(stages_to_run[i - 1].label, " is done after ", with_thousands(stages_to_run[i - 1].steps),
                           " steps; the next starts from the base model"));
      print_method(subject.method->type(), std::span(stages).subspan(i));
    }
    const bool goes_on = latest.has_value();
    if (goes_on) {
      trainer.resume(*latest);  // first: it says when the checkpoint is another method's
      load_weights(subject, latest->path);
      log::info(mpeft::str("resuming from ", latest->path.string(), " (", stage.count > 1 ? stage.label + ", " : "",
                           "epoch ", trainer.state().epoch, ", step ", stage.steps_before + trainer.state().step, ")"));
      latest.reset();
    }
    if (is_first) write_run_files(goes_on);
    trainer.run();
    if (stage.is_last()) break;
    auto next = peft::make_peft_method(peft::next_stage_json(*subject.method), adapter_files);
    subject = Subject();  // before the next copy of the base is loaded
    subject = make_subject(config, std::move(next));
  }
  if (!config.no_save) {
    save_weights(subject, config, tokenizer_path, output_dir);
    log::info(mpeft::str("saved ", (output_dir / (subject.method ? "adapter" : "model")).string()));
  }
  mark_finished(output_dir);
  for (const auto& line : results_table(output_dir / "metrics.jsonl", options.first_metric)) log::info(line);
  if (!config.no_save) {
    log::info(subject.method ? mpeft::str("use it: mpeft generate --model ", config.model, " --adapter ",
                                          (output_dir / "adapter").string())
                             : mpeft::str("use it: mpeft generate --model ", (output_dir / "model").string()));
  }
  return 0;
}

}  // namespace mpeft::app
