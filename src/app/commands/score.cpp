#include <fstream>
#include <iostream>

#include <nlohmann/json.hpp>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"
#include "mpeft/metrics/metric.h"

#include "app/commands/command.h"

namespace mpeft::app {
namespace {

using nlohmann::json;

metrics::Record record_of_line(const std::string& line, const std::string& path, int64_t number) {
  const json object = json::parse(line, nullptr, /*allow_exceptions=*/false);
  const auto fail = [&](const std::string& what) -> DataError {
    return DataError(mpeft::str(path, ":", number, ": ", what));
  };
  if (!object.is_object()) throw fail("expected a JSON object {\"prediction\": …, \"references\": […]}");
  metrics::Record record;
  if (!object.contains("prediction") || !object.at("prediction").is_string())
    throw fail("prediction: expected a string");
  record.prediction = object.at("prediction").get<std::string>();
  if (!object.contains("references") || !object.at("references").is_array() || object.at("references").empty()) {
    throw fail("references: expected a list of at least one string");
  }
  for (const auto& reference : object.at("references")) {
    if (!reference.is_string()) throw fail("references: expected strings, got " + reference.dump());
    record.references.push_back(reference.get<std::string>());
  }
  return record;
}

}  // namespace

void add_score_command(CLI::App& app) {
  struct Options {
    std::vector<std::string> names;
    std::string predictions;
    bool per_example = false;
    bool json_output = false;
  };
  auto options = std::make_shared<Options>();
  auto* command = app.add_subcommand("score", "metrics of predictions that are there already");
  command->footer("Records {\"prediction\": \"…\", \"references\": [\"…\"]}, one a line. Metrics: " +
                  join(metrics::metric_names(), ", ") +
                  "\n  mpeft score bleu meteor --predictions weights/quickstart/lora/predictions-100.jsonl");
  command->add_option("names", options->names, "metrics")->required();
  command->add_option("--predictions", options->predictions, "JSON lines; - is standard input")->required();
  command->add_flag("--per-example", options->per_example,
                    "one JSON record a line with each metric, before the corpus values");
  command->add_flag("--json", options->json_output, "one JSON document on standard output");
  command->callback([options] {
    std::vector<metrics::Record> records;
    for_each_line(options->predictions, [&](int64_t number, const std::string& line) {
      if (!trim(line).empty()) records.push_back(record_of_line(line, options->predictions, number));
    });
    if (records.empty()) throw DataError(options->predictions + ": no records");

    json corpus = json::object(), examples = json::array();
    if (options->per_example) examples = json(records.size(), json::object());
    for (const auto& name : options->names) {
      const auto metric = metrics::make_metric(name);
      for (const auto& [key, value] : metric->score(records)) corpus[key] = value;
      if (!options->per_example) continue;
      for (size_t i = 0; i < records.size(); ++i) {
        for (const auto& [key, value] : metric->score_one(records[i])) examples[i][key] = value;
      }
    }
    if (options->json_output) {
      json document = {{"metrics", corpus}, {"n_records", records.size()}};
      if (options->per_example) document["examples"] = examples;
      std::cout << document.dump() << '\n';
      return;
    }
    for (const auto& example : examples) std::cout << example.dump() << '\n';
    for (const auto& [key, value] : corpus.items()) std::cout << key << "  " << fixed(value.get<double>(), 6) << '\n';
  });
}

}  // namespace mpeft::app
