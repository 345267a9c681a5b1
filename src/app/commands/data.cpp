#include <iostream>

#include <nlohmann/json.hpp>

#include "app/commands/command.h"
#include "app/experiment_data.h"
#include "mpeft/config/experiment.h"
#include "mpeft/core/strings.h"
#include "mpeft/data/dataset.h"
#include "mpeft/data/describe.h"

namespace mpeft::app {
namespace {

using nlohmann::json;

struct Options {
  std::string name, cfg, split = "train", data_root, tokenizer;
  std::vector<std::string> set;
  int64_t n = 3;
  bool json_output = false;

  void add_to(CLI::App& command) {
    command.add_option("name", name, "data set: " + join(data::dataset_names(), ", ") + " (jsonl:PATH); or name an experiment with --cfg");
    command.add_option("--cfg", cfg, "experiment file: its data set, options and tokenizer");
    command.add_option("--split", split, "train, val or test")->capture_default_str();
    command.add_option("--data-root", data_root, "folder that holds the data sets (default: data)");
    command.add_option("--tokenizer", tokenizer, "tokenizer.json or folder");
    command.add_option("--set", set, "key=value as in an experiment file (data_options.train_file=…)")->allow_extra_args(false);
    command.add_flag("--json", json_output, "one JSON document on standard output");
  }
};

struct Loaded {
  ExperimentTokenizer tokenizer;
  data::TextDataset text;
  data::TokenizedDataset tokens;
};

Loaded load(const Options& options) {
  config::ExperimentOverrides overrides;
  overrides.set = options.set;
  if (!options.data_root.empty()) overrides.flags["data_root"] = options.data_root;
  if (!options.tokenizer.empty()) overrides.flags["tokenizer"] = options.tokenizer;
  if (!options.name.empty()) overrides.flags["data"] = options.name;
  // Without an experiment file, one that says nothing but the name: the same reading, checks and messages.
  const auto config = options.cfg.empty() ? config::load_experiment_from_string("model: cfg/models/tiny.yaml\ndata: " + options.name + "\n", "command line",
                                                                                overrides, {.check_files = false})
                                          : config::load_experiment(options.cfg, overrides);
  Loaded loaded;
  loaded.tokenizer = open_tokenizer(config);
  const bool is_train = options.split == "train";
  auto request = dataset_request(config, is_train);
  request.split = data::split_from_string(options.split);
  loaded.text = data::read_dataset(request);
  data::TokenizeOptions tokenize_options;
  tokenize_options.max_length = config.max_length;
  tokenize_options.for_training = is_train;
  loaded.tokens = data::tokenize(loaded.text, *loaded.tokenizer.tokenizer, tokenize_options);
  return loaded;
}

std::string dump(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

void show(const Options& options) {
  const auto loaded = load(options);
  const auto& tokenizer = *loaded.tokenizer.tokenizer;
  json list = json::array();
  for (size_t i = 0; i < loaded.tokens.examples.size() && i < static_cast<size_t>(options.n); ++i) {
    const auto& example = loaded.tokens.examples[i];
    const auto middle = example.ids.begin() + example.prompt_length;
    json item = {{"record", example.record},
                 {"prompt", tokenizer.decode({example.ids.begin(), middle}, false)},
                 {"target", tokenizer.decode({middle, example.ids.end()}, false)},
                 {"references", example.references},
                 {"ids", example.ids},
                 {"prompt_length", example.prompt_length}};
    list.push_back(item);
    if (options.json_output) continue;
    std::cout << "record " << example.record << "  " << example.ids.size() << " tokens, loss on the last "
              << static_cast<int64_t>(example.ids.size()) - example.prompt_length << "\n  reads   " << dump(item["prompt"]) << "\n  writes  " << dump(item["target"])
              << "\n  ids     " << dump(json(std::vector<text::TokenId>(example.ids.begin(), middle))) << " → "
              << dump(json(std::vector<text::TokenId>(middle, example.ids.end()))) << '\n';
    for (size_t k = 0; k < example.references.size(); ++k) std::cout << (k == 0 ? "  right   " : "          ") << dump(example.references[k]) << '\n';
  }
  if (options.json_output) std::cout << dump(list) << '\n';
}

void stats(const Options& options) {
  const auto loaded = load(options);
  const auto statistics = data::length_statistics(loaded.tokens);
  if (options.json_output) {
    json histogram = json::array();
    for (const auto& bucket : statistics.histogram) histogram.push_back({bucket.low, bucket.high, bucket.count});
    std::cout << dump({{"records", loaded.text.examples.size()}, {"examples", statistics.n_examples}, {"dropped", statistics.n_dropped},
                       {"tokens", statistics.n_tokens}, {"label_tokens", statistics.n_labels}, {"p50", statistics.p50}, {"p95", statistics.p95},
                       {"max", statistics.max}, {"histogram", histogram}, {"notes", loaded.text.notes}})
              << '\n';
    return;
  }
  std::cout << "records   " << with_thousands(static_cast<int64_t>(loaded.text.examples.size())) << "\nexamples  " << with_thousands(statistics.n_examples) << " ("
            << statistics.n_dropped << " dropped as too long)\ntokens    " << with_thousands(statistics.n_tokens) << ", of which "
            << with_thousands(statistics.n_labels) << " carry loss\nlength    p50 " << statistics.p50 << "  p95 " << statistics.p95 << "  max "
            << statistics.max << '\n';
  for (const auto& line : data::histogram_lines(statistics)) std::cout << line << '\n';
  for (const auto& note : loaded.text.notes) std::cout << "note      " << note << '\n';
}

}  // namespace

void add_data_command(CLI::App& app) {
  auto* command = app.add_subcommand("data", "look at a data set as the model sees it");
  command->require_subcommand(1);
  command->footer("  mpeft data show --cfg cfg/quickstart/lora.yaml --split val --n 2\n  mpeft data stats --cfg cfg/quickstart/lora.yaml");
  auto show_options = std::make_shared<Options>();
  auto* show_command = command->add_subcommand("show", "examples: text, ids, which tokens carry loss");
  show_options->add_to(*show_command);
  show_command->add_option("--n", show_options->n, "how many")->capture_default_str();
  show_command->callback([show_options] { show(*show_options); });
  auto stats_options = std::make_shared<Options>();
  auto* stats_command = command->add_subcommand("stats", "counts, length percentiles and histogram, what was dropped");
  stats_options->add_to(*stats_command);
  stats_command->callback([stats_options] { stats(*stats_options); });
}

}  // namespace mpeft::app
