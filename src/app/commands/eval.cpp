#include <filesystem>
#include <iostream>

#include <nlohmann/json.hpp>

#include "mpeft/checkpoint/model_folder.h"
#include "mpeft/checkpoint/training_folder.h"
#include "mpeft/config/experiment.h"
#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"
#include "mpeft/core/logging.h"
#include "mpeft/core/strings.h"
#include "mpeft/data/dataset.h"
#include "mpeft/eval/evaluator.h"
#include "mpeft/metrics/metric.h"
#include "mpeft/metrics/pair_metric.h"
#include "mpeft/model/factory.h"
#include "mpeft/model/precision.h"
#include "mpeft/peft/adapter.h"

#include "app/commands/command.h"
#include "app/evaluate_split.h"
#include "app/experiment_data.h"

namespace mpeft::app {
namespace {

namespace sfs = std::filesystem;

struct EvalOptions {
  std::string cfg, checkpoint, split, predictions, output, spider;
  std::vector<std::string> metrics;
  config::ExperimentOverrides overrides;
  bool json_output = false;
};

void print_scores(const metrics::Scores& scores, bool as_json) {
  if (as_json) {
    std::cout << nlohmann::json({{"metrics", scores}}).dump() << '\n';
    return;
  }
  for (const auto& [name, value] : scores) std::cout << name << "  " << fixed(value, 6) << '\n';
}

// What --checkpoint names: a trained adapter, or a whole model.
struct Checkpoint {
  sfs::path folder;
  bool is_adapter;
};

// A run or checkpoint folder holds `adapter/` or `model/`; an adapter or model folder is one itself. A model's id
// stands for its folder in the hub cache.
Checkpoint find_checkpoint(const std::string& name) {
  const sfs::path path = name;
  const auto is_there = [](const sfs::path& file) {
    std::error_code ignored;
    return sfs::exists(file, ignored);
  };
  for (const sfs::path& folder : {path / "adapter", path}) {
    if (is_there(folder / "adapter_config.json")) return {folder, true};
  }
  for (const sfs::path& folder : {path / "model", path}) {
    if (is_there(folder / "config.json")) return {folder, false};
  }
  std::error_code ignored;
  if (sfs::is_directory(path, ignored)) {
    std::vector<std::string> steps;
    for (const auto& folder : checkpoint::list_training_folders(path)) steps.push_back(folder.path.string());
    if (steps.empty())
      throw DataError(name +
                      ": holds no adapter/ nor model/, and is neither itself (no adapter_config.json, no config.json)");
    throw DataError(mpeft::str(name, ": the run has not ended; it has ", steps.size(),
                               steps.size() == 1 ? " checkpoint" : " checkpoints", ": try --checkpoint ",
                               steps.back()));
  }
  if (is_there(path)) throw DataError(name + ": is a file; expected a run, checkpoint, adapter or model folder");
  try {
    return {checkpoint::find_model_folder(name).path, false};
  } catch (const CheckpointError&) {
    const sfs::path parent = path.has_parent_path() ? path.parent_path() : sfs::path(".");
    throw DataError(mpeft::str(name, ": no such run, checkpoint, adapter or model folder",
                               did_you_mean(path.filename().string(), fs::list_folder(parent))));
  }
}

model::MambaLM load_checkpoint(const config::ExperimentConfig& config, const Checkpoint& trained) {
  if (!trained.is_adapter) return model::make_model(trained.folder.string(), config.seed).model;
  auto loaded = model::make_model(config.model, config.seed);
  peft::load_adapter(loaded.model, trained.folder);
  return loaded.model;
}

void evaluate_checkpoint(const EvalOptions& options) {
  const auto config =
      config::load_experiment(options.cfg, options.overrides, {.data_problem = data::dataset_name_problem});
  // Training records are those of `data:`; the others are those of `val_data:`, where the experiment names one.
  auto request = dataset_request(config, options.split == "train");
  if (!options.split.empty()) request.split = data::split_from_string(options.split);
  const Checkpoint trained = find_checkpoint(options.checkpoint);
  const auto [tokenizer, tokenizer_path] = open_tokenizer(config);
  const auto dataset = data::read_dataset(request);
  const auto tokens = tokenize_dataset(config, dataset, *tokenizer, /*for_training=*/false);
  require_examples(config, dataset, tokens, "evaluation");
  check_evaluation(dataset, *tokenizer, /*evaluates=*/true);
  check_references(tokens);
  for (const auto& note : dataset.notes) log::info(note);
  if (tokens.n_dropped > 0) log::info(mpeft::str(tokens.n_dropped, " examples dropped as too long"));

  auto model = load_checkpoint(config, trained);
  for (auto& parameter : model->parameters()) parameter.set_requires_grad(false);
  model::place_parameters(model, experiment_device(config), model::dtype_from_string(config.prec));
  model->eval();
  const auto result = evaluate_split(model, *tokenizer, tokens, config);
  print_scores(result.scores, options.json_output);
  std::cout.flush();  // they stand, should the file not be writable
  if (!options.output.empty()) {
    eval::write_predictions(options.output, result.predictions);
    log::info("wrote " + options.output);
  }
}

// What the run that wrote the predictions measured: the metrics in the last evaluation of the metrics.jsonl beside
// them.
std::vector<std::string> metrics_of_run(const sfs::path& predictions) {
  constexpr uint64_t kMaxBytes = uint64_t{1} << 30;
  const sfs::path log = predictions.parent_path() / "metrics.jsonl";
  std::error_code ignored;
  if (!sfs::is_regular_file(log, ignored)) return {};
  auto known = metrics::metric_names();
  for (const auto& name : metrics::pair_metric_names()) known.push_back(name);
  std::vector<std::string> names;
  for (const auto& line : split(fs::read_file(log, kMaxBytes), '\n')) {
    const auto entry = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!entry.is_object() || entry.value("kind", nlohmann::json()) != "eval" || !entry.contains("metrics")) continue;
    names.clear();
    for (const auto& name : known) {
      if (entry["metrics"].is_object() && entry["metrics"].contains(name)) names.push_back(name);
    }
  }
  return names;
}

void rescore(const EvalOptions& options) {
  std::error_code ignored;
  if (!sfs::exists(options.predictions, ignored)) throw DataError(options.predictions + ": no such file");
  const auto names = options.metrics.empty() ? metrics_of_run(options.predictions) : options.metrics;
  if (names.empty()) {
    throw ConfigError(mpeft::str("which metrics? There is no evaluation in a metrics.jsonl beside ",
                                 options.predictions, "; name them with --metrics NAME…"));
  }
  print_scores(eval::score_predictions(eval::read_predictions(options.predictions), names, options.spider),
               options.json_output);
}

}  // namespace

void add_eval_command(CLI::App& app) {
  auto options = std::make_shared<EvalOptions>();
  auto* command = app.add_subcommand("eval", "evaluate a checkpoint, or rescore predictions");
  command->footer(
      "  mpeft eval --cfg cfg/quickstart/lora.yaml --checkpoint weights/quickstart/lora --split val\n"
      "  mpeft eval --predictions weights/quickstart/lora/predictions-1200.jsonl --metrics bleu meteor");
  command->add_option("--cfg", options->cfg, "experiment file: data, tokenizer, model, eval_gen");
  command->add_option("--checkpoint", options->checkpoint, "run, checkpoint, adapter or model folder");
  command->add_option("--split", options->split, "train, val or test (default: what the experiment validates on)");
  command->add_option("--output", options->output, "write the predictions to this JSON lines file");
  command->add_option("--predictions", options->predictions, "rescore this file instead of running a model");
  command->add_option("--metrics", options->metrics, "with --predictions (default: those of the run that wrote them)")
      ->delimiter(',');
  command->add_option("--spider", options->spider, "with --predictions: Spider's folder, for metrics of SQL");
  command->add_option("--set", options->overrides.set, "key=value over the experiment file")->allow_extra_args(false);
  struct Flag {
    const char *name, *key, *help;
  };
  for (const auto& [name, key, help] : {
           Flag{"--device", "device", "number of a GPU, or cpu (default: the first GPU if there is one)"},
           Flag{"--prec", "prec", "bf16, fp16 or fp32"},
           Flag{"--model", "model", "instead of the file's base model"},
           Flag{"--data-root", "data_root", "folder that holds the data sets (default: data)"},
       }) {
    command->add_option_function<std::string>(
        name, [options, key = std::string(key)](const std::string& text) { options->overrides.flags[key] = text; },
        help);
  }
  command->add_flag("--json", options->json_output, "one JSON document on standard output");
  command->callback([options] {
    if (!options->predictions.empty()) {
      rescore(*options);
      return;
    }
    if (options->cfg.empty() || options->checkpoint.empty())
      throw ConfigError("eval needs --cfg and --checkpoint, or --predictions");
    evaluate_checkpoint(*options);
  });
}

}  // namespace mpeft::app
