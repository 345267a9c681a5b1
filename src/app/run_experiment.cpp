#include "app/run_experiment.h"

#include <algorithm>
#include <filesystem>

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

namespace mpeft::app {
namespace {

namespace sfs = std::filesystem;

constexpr size_t kDebugExamples = 16;

// The model with what trains on it.
struct Subject {
  model::MambaLM model{nullptr};
  model::ModelSource source;
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
  if (split.tokens.examples.empty()) {
    throw DataError(mpeft::str(config.data, ": no example is left for ", for_training ? "training" : "evaluation", " (",
                               split.tokens.n_dropped, " are longer than max_length ", config.max_length, ")"));
  }
  return split;
}

Subject make_subject(const config::ExperimentConfig& config) {
  Subject subject;
  auto loaded = model::make_model(config.model, config.seed);
  subject.model = loaded.model;
  subject.source = loaded.source;
  if (config.peft.empty()) {
    for (auto& parameter : subject.model->parameters()) parameter.set_requires_grad(true);
  } else {
    subject.method = peft::make_peft_method_from_files({config.peft.begin(), config.peft.end()});
    subject.method->inject(subject.model, config.seed);
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

void print_overview(const config::ExperimentConfig& config, const Subject& subject, const peft::TrainableReport& report,
                    const Split& train, const Split* validation, at::Device device, int64_t steps_per_epoch) {
  const auto line = [](std::string_view name, const std::string& text) {
    log::info(mpeft::str(name, std::string(12 - std::min<size_t>(name.size(), 11), ' '), text));
  };
  line("experiment", mpeft::str(config.path, "  →  ", config.output_dir));
  line("model",
       mpeft::str(subject.source.description, "   ", with_thousands(report.n_total), " weights   ", config.prec,
                  subject.source.weight_files.empty()
                      ? ""
                      : mpeft::str("   (", subject.source.weight_files.front().filename().string(),
                                   subject.source.weight_files.size() > 1 ? ", …)" : ")")));
  line(subject.method ? "adapter" : "training",
       mpeft::str(subject.method ? subject.method->type() + "   " : "full fine-tuning   ",
                  with_thousands(report.n_trainable), " trainable = ", fixed(100 * report.share(), 3), " %"));
  if (subject.method) {
    for (const auto& covered : report.coverage()) line("", covered);
  }
  line("data",
       mpeft::str(config.data, "   train ", with_thousands(static_cast<int64_t>(train.tokens.examples.size())), " (",
                  train.tokens.n_dropped, " dropped as too long)",
                  validation ? mpeft::str("   ", config.val_data_split, " ",
                                          with_thousands(static_cast<int64_t>(validation->tokens.examples.size())),
                                          " (", validation->tokens.n_dropped, " dropped)")
                             : "",
                  "   ", length_summary(train.tokens.examples)));
  for (const auto& note : train.text.notes) line("", note);
  if (validation) {
    for (const auto& note : validation->text.notes) line("", config.val_data_split + ": " + note);
  }
  line("step", mpeft::str("batch ", config.batch_size, " × accumulation ", config.gradient_accumulation_steps, ", ",
                          with_thousands(steps_per_epoch), " steps an epoch, ", config.num_epochs, " epochs"));
  line("device", train::describe_device(device));
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

}  // namespace

int run_experiment(const config::ExperimentConfig& config, bool dry_run) {
  const sfs::path output_dir = config.output_dir;
  std::unique_ptr<train::RunFolder> run;
  if (!dry_run) {
    run = train::RunFolder::open(output_dir);
    if (!run) {
      const std::string message = output_dir.string() + ": another process is running this experiment";
      if (!config.lock) throw ConfigError(message + "; --lock skips it, --output names another folder");
      log::info(message + "; skipped");
      return 0;
    }
    if (config.overwrite) run->clear();
    if (run->is_finished()) {
      log::info(output_dir.string() + ": already finished; --overwrite starts anew");
      return 0;
    }
    if (run->has_checkpoint() && !config.resume) {
      throw ConfigError(
          output_dir.string() +
          ": holds an unfinished run: --resume goes on from its last checkpoint, --overwrite starts anew");
    }
    if (!run->has_checkpoint()) run->clear();  // what a run left that stopped before its first checkpoint
    log::log_to_file((output_dir / "log.txt").string());
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

  Subject subject = make_subject(config);
  if (tokenizer->vocab_size() > subject.model->config().vocab_size) {
    throw ConfigError(mpeft::str(config.path, ": the tokenizer (", tokenizer_path, ") has ", tokenizer->vocab_size(),
                                 " ids, the model an embedding of ", subject.model->config().vocab_size,
                                 " rows: they do not belong together"));
  }
  model::place_parameters(subject.model, device, dtype, config.master_weights);
  const auto report = peft::report_trainable(subject.model);

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
  options.log_steps = config.log_steps;
  options.eval_epochs = config.eval_epochs;
  options.eval_before_training = config.eval_before_training;
  options.save_total_limit = config.save_total_limit;
  options.no_save = config.no_save;
  options.min_metric_after_epoch = config.min_eval_metric_after_epoch;
  if (evaluates && !validation->text.metrics.empty())
    options.first_metric = main_score(validation->text.metrics.front());
  options.output_dir = output_dir;

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

  train::Trainer trainer(subject.model, trainable_parameters(subject), train_split.tokens.examples, options, hooks);
  print_overview(config, subject, report, train_split, validation ? &*validation : nullptr, device,
                 trainer.steps_per_epoch());
  if (dry_run) {
    log::info("dry run: everything is in place; nothing was written");
    return 0;
  }

  if (config.resume) {
    if (const auto latest = checkpoint::latest_training_folder(output_dir)) {
      load_weights(subject, latest->path);
      trainer.resume(*latest);
      log::info(mpeft::str("resuming from ", latest->path.string(), " (epoch ", trainer.state().epoch, ", step ",
                           trainer.state().step, ")"));
    } else {
      log::info(output_dir.string() + ": no checkpoint to resume from; starting at the beginning");
    }
  }
  std::vector<sfs::path> data_files(train_split.text.source_files.begin(), train_split.text.source_files.end());
  if (validation)
    data_files.insert(data_files.end(), validation->text.source_files.begin(), validation->text.source_files.end());
  write_manifest({config, subject.source, data_files, tokenizer->fingerprint(), train::describe_device(device),
                  report.n_trainable, report.n_total, trainer.total_steps(), options.first_metric});
  fs::write_file_atomic(output_dir / "cfg.yaml", config::dump_yaml(config));

  trainer.run();
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
