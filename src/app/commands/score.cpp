#include <algorithm>
#include <iostream>
#include <iterator>

#include <nlohmann/json.hpp>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"
#include "mpeft/eval/evaluator.h"
#include "mpeft/metrics/pair_metric.h"

#include "app/commands/command.h"

namespace mpeft::app {
namespace {

using nlohmann::json;

struct ScoreOptions {
  std::vector<std::string> names;
  std::string predictions;
  std::string spider;
  bool per_example = false;
  bool json_output = false;
};

std::vector<eval::Prediction> read(const std::string& path) {
  if (path != "-") return eval::read_predictions(path);
  const std::string text{std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
  return eval::parse_predictions(text, "standard input");
}

void check_names(const ScoreOptions& options) {
  const auto pairs = metrics::pair_metric_names();
  for (const auto& name : options.names) {
    eval::check_metric_name(name, options.spider);
    if (options.per_example && std::find(pairs.begin(), pairs.end(), name) != pairs.end())
      throw ConfigError("--per-example: " + name + " is of all examples together");
  }
}

void score(const ScoreOptions& options) {
  check_names(options);
  const auto predictions = read(options.predictions);
  if (predictions.empty())
    throw DataError((options.predictions == "-" ? "standard input" : options.predictions) + ": no records");
  const json corpus = eval::score_predictions(predictions, options.names, options.spider);
  json examples = json::array();
  if (options.per_example) {
    examples = json(predictions.size(), json::object());
    const auto records = eval::to_records(predictions);
    for (const auto& name : options.names) {
      const auto metric = metrics::make_metric(name, options.spider);
      for (size_t i = 0; i < records.size(); ++i) {
        for (const auto& [key, value] : metric->score_one(records[i])) examples[i][key] = value;
      }
    }
  }
  if (options.json_output) {
    json document = {{"metrics", corpus}, {"n_records", predictions.size()}};
    if (options.per_example) document["examples"] = examples;
    std::cout << document.dump() << '\n';
    return;
  }
  for (const auto& example : examples) std::cout << example.dump() << '\n';
  for (const auto& [key, value] : corpus.items()) std::cout << key << "  " << fixed(value.get<double>(), 6) << '\n';
}

// In lines that fit a terminal, each started anew.
std::string names_in_lines(const std::vector<std::string>& names) {
  constexpr size_t kColumns = 90;
  std::string text;
  size_t column = kColumns;
  for (const auto& name : names) {
    if (column + name.size() + 2 > kColumns) {
      text += "\n ";
      column = 1;
    }
    text += " " + name;
    column += name.size() + 1;
  }
  return text;
}

}  // namespace

void add_score_command(CLI::App& app) {
  auto options = std::make_shared<ScoreOptions>();
  auto* command = app.add_subcommand("score", "metrics of predictions that are there already");
  command->footer(
      "Records {\"prediction\": …, \"references\": […]}, one a line; texts, or one class or number each for\n  " +
      join(metrics::pair_metric_names(), ", ") + ".\nMetrics of texts:" + names_in_lines(metrics::metric_names()) +
      "\n  mpeft score bleu meteor --predictions weights/quickstart/lora/predictions-1200.jsonl"
      "\n  echo '{\"prediction\": 1, \"references\": [0]}' | mpeft score accuracy --predictions -"
      "\nSQL for exact, execution and spider (both, and every clause): {\"prediction\": …, \"gold\": …, \"db_id\": …}"
      "\n  mpeft score spider --predictions queries.jsonl --spider data/spider");
  command->add_option("names", options->names, "metrics")->required();
  command->add_option("--predictions", options->predictions, "JSON lines; - is standard input")->required();
  command->add_option("--spider", options->spider, "Spider's folder (tables.json, database/), for metrics of SQL");
  command->add_flag("--per-example", options->per_example,
                    "one JSON record a line with each metric, before the corpus values");
  command->add_flag("--json", options->json_output, "one JSON document on standard output");
  command->callback([options] { score(*options); });
}

}  // namespace mpeft::app
