#include <iostream>

#include <nlohmann/json.hpp>

#include "mpeft/config/experiment.h"
#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"
#include "mpeft/data/dataset.h"
#include "mpeft/data/describe.h"

#include "app/commands/command.h"
#include "app/experiment_data.h"

namespace mpeft::app {
namespace {

using nlohmann::json;

struct DataOptions {
  std::string name, cfg, split = "train", data_root, tokenizer;
  std::vector<std::string> set;
  int64_t n = 3;
  bool json_output = false;

  void add_to(CLI::App& command) {
    command.add_option(
        "name", name,
        "data set: " + join(data::dataset_names(), ", ") +
            " (glue_rte, glue_mnli, …; jsonl:PATH; spider-tvt, spider_1000, …); or name an experiment with --cfg");
    command.add_option("--cfg", cfg, "experiment file: its data set, options and tokenizer");
    command.add_option("--split", split, "train, val or test")->capture_default_str();
    command.add_option("--data-root", data_root, "folder that holds the data sets (default: data)");
    command.add_option("--tokenizer", tokenizer, "tokenizer.json or folder");
    command.add_option("--set", set, "key=value as in an experiment file (data_options.train_file=…)")
        ->allow_extra_args(false);
    command.add_flag("--json", json_output, "one JSON document on standard output");
  }
};

struct Loaded {
  config::ExperimentConfig config;
  ExperimentTokenizer tokenizer;
  data::TextDataset text;
  data::TokenizedDataset tokens;
};

Loaded load(const DataOptions& options) {
  config::ExperimentOverrides overrides;
  overrides.set = options.set;
  if (!options.data_root.empty()) overrides.flags["data_root"] = options.data_root;
  if (!options.tokenizer.empty()) overrides.flags["tokenizer"] = options.tokenizer;
  if (!options.name.empty()) overrides.flags["data"] = options.name;
  if (options.name.empty() && options.cfg.empty())
    throw ConfigError("expected the name of a data set, or --cfg FILE; there are: " +
                      join(data::dataset_names(), ", "));
  if (!options.name.empty()) {
    // Where it is typed it has no key in front.
    const std::string problem = data::dataset_name_problem(options.name);
    if (!problem.empty()) throw ConfigError(problem);
  }
  // Without an experiment file, one that says nothing: the same reading, checks and messages.
  const auto config =
      options.cfg.empty()
          ? config::load_experiment_from_string("model: tiny.yaml\ndata: none\n", "command line", overrides,
                                                {.check_files = false, .data_problem = data::dataset_name_problem})
          : config::load_experiment(options.cfg, overrides, {.data_problem = data::dataset_name_problem});
  Loaded loaded;
  loaded.config = config;
  loaded.tokenizer = open_tokenizer(config);
  const bool is_train = options.split == "train";
  auto request = dataset_request(config, is_train);
  request.split = data::split_from_string(options.split);
  loaded.text = data::read_dataset(request);
  loaded.tokens = tokenize_dataset(config, loaded.text, *loaded.tokenizer.tokenizer, is_train);
  return loaded;
}

std::string dump(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

void show(const DataOptions& options) {
  const auto loaded = load(options);
  require_examples(loaded.config, loaded.text, loaded.tokens, "showing");
  json list = json::array();
  for (const auto& example : data::show_examples(loaded.tokens, *loaded.tokenizer.tokenizer, options.n)) {
    json ids = json::array(), loss = json::array();
    int64_t n_labels = 0;
    for (const auto& token : example.tokens) {
      ids.push_back(token.id);
      loss.push_back(token.carries_loss);
      n_labels += token.carries_loss ? 1 : 0;
    }
    list.push_back({{"record", example.record},
                    {"prompt", example.prompt},
                    {"target", example.target},
                    {"references", example.references},
                    {"ids", ids},
                    {"carries_loss", loss}});
    if (options.json_output) continue;
    std::cout << "record " << example.record << "  " << example.tokens.size() << " tokens, " << n_labels
              << " of them carry loss\n  reads   " << dump(example.prompt) << "\n  writes  " << dump(example.target)
              << "\n  ids     ";
    for (const auto& token : example.tokens)
      std::cout << (token.carries_loss ? "[" : "") << token.id << (token.carries_loss ? "] " : " ");
    std::cout << '\n';
    for (size_t k = 0; k < example.references.size(); ++k)
      std::cout << (k == 0 ? "  right   " : "          ") << dump(example.references[k]) << '\n';
  }
  if (options.json_output) std::cout << dump(list) << '\n';
}

void stats(const DataOptions& options) {
  const auto loaded = load(options);
  const auto statistics = data::dataset_statistics(loaded.text, loaded.tokens);
  if (options.json_output) {
    json histogram = json::array();
    for (const auto& bin : statistics.histogram) histogram.push_back(json::array({bin.low, bin.high, bin.count}));
    json document = json::object();
    document["records"] = statistics.n_records;
    document["examples"] = statistics.n_examples;
    document["dropped"] = statistics.n_dropped;
    document["tokens"] = statistics.length.total;
    document["label_share"] = statistics.label_share;
    document["p50"] = statistics.length.p50;
    document["p95"] = statistics.length.p95;
    document["max"] = statistics.length.max;
    const auto lengths = [](const data::LengthSummary& summary) {
      return json({{"p50", summary.p50}, {"p95", summary.p95}, {"max", summary.max}, {"total", summary.total}});
    };
    document["prompt"] = lengths(statistics.prompt_length);
    document["target"] = lengths(statistics.target_length);
    document["metrics"] = statistics.metrics;
    document["classes"] = loaded.text.classes;
    document["source_files"] = statistics.source_files;
    document["histogram"] = histogram;
    document["notes"] = statistics.notes;
    std::cout << dump(document) << '\n';
    return;
  }
  const auto lengths = [](const data::LengthSummary& summary) {
    return mpeft::str("p50 ", summary.p50, "  p95 ", summary.p95, "  max ", summary.max);
  };
  std::cout << "records   " << with_thousands(statistics.n_records) << "\nexamples  "
            << with_thousands(statistics.n_examples) << " (" << statistics.n_dropped
            << " dropped as too long)\ntokens    " << with_thousands(statistics.length.total) << ", "
            << fixed(100 * statistics.label_share, 1) << " % carry loss\nlength    " << lengths(statistics.length)
            << "\nprompt    " << lengths(statistics.prompt_length) << "\ntarget    "
            << lengths(statistics.target_length) << "\nmetrics   " << join(statistics.metrics, ", ") << '\n';
  if (!loaded.text.classes.empty()) std::cout << "classes   " << join(loaded.text.classes, ", ") << '\n';
  for (const auto& line : data::histogram_lines(statistics.histogram, 40)) std::cout << "  " << line << '\n';
  for (const auto& note : statistics.notes) std::cout << "note      " << note << '\n';
}

}  // namespace

void add_data_command(CLI::App& app) {
  auto* command = app.add_subcommand("data", "look at a data set as the model sees it");
  command->require_subcommand(1);
  command->footer(
      "  mpeft data show --cfg cfg/quickstart/base.yaml --split val --n 2\n  mpeft data stats glue_rte --data-root "
      "data/sample --tokenizer data/sample/tokenizer.json");
  auto show_options = std::make_shared<DataOptions>();
  auto* show_command = command->add_subcommand("show", "examples: text, ids, which tokens carry loss");
  show_options->add_to(*show_command);
  show_command->add_option("--n", show_options->n, "how many")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 32))
      ->capture_default_str();
  show_command->callback([show_options] { show(*show_options); });
  auto stats_options = std::make_shared<DataOptions>();
  auto* stats_command = command->add_subcommand("stats", "counts, length percentiles and histogram, what was dropped");
  stats_options->add_to(*stats_command);
  stats_command->callback([stats_options] { stats(*stats_options); });
}

}  // namespace mpeft::app
