#include <iostream>

#include <nlohmann/json.hpp>

#include "mpeft/core/strings.h"
#include "mpeft/model/factory.h"
#include "mpeft/peft/peft_method.h"
#include "mpeft/peft/trainable_report.h"

#include "app/commands/command.h"
#include "app/stages.h"

namespace mpeft::app {

void add_params_command(CLI::App& app) {
  struct Options {
    std::string model;
    std::vector<std::string> peft;
    bool list = false;
    bool json_output = false;
  };
  auto options = std::make_shared<Options>();
  auto* command = app.add_subcommand("params", "what an adapter configuration trains: tensors, counts, share");
  command->footer("  mpeft params --model 130m --peft cfg/peft/lora/r8/lora_outproj.json");
  command->add_option("--model", options->model, "a size of cfg/models, a folder or an id (no weights are needed)")
      ->required();
  command->add_option("--peft", options->peft,
                      "adapter configurations, applied together; without one everything trains");
  command->add_flag("--list", options->list, "every tensor, not only every kind");
  command->add_flag("--json", options->json_output, "one JSON document on standard output");
  command->callback([options] {
    const auto config = model::find_model_config(options->model);
    std::vector<StageSummary> stages;  // what trains in the end is the last one's
    if (options->peft.empty()) {
      // Uninitialised weights are never touched: counting a 2.8b model costs no memory.
      model::MambaLM model(config);
      for (auto& parameter : model->parameters()) parameter.set_requires_grad(true);
      stages.push_back({{}, peft::report_trainable(model)});
    } else {
      stages = summarize_stages(peft::make_peft_method_from_files({options->peft.begin(), options->peft.end()}), config,
                                join(options->peft, ", "));
    }
    const auto& report = stages.back().report;
    if (options->json_output) {
      nlohmann::json tensors = nlohmann::json::array();
      for (const auto& row : report.trainable)
        tensors.push_back({{"name", row.name}, {"shape", row.shape}, {"count", row.count}});
      nlohmann::json object = {{"trainable", report.n_trainable},
                               {"total", report.n_total},
                               {"share", report.share()},
                               {"tensors", tensors}};
      for (const auto& [stage, counts] : stages) {
        if (stage.count > 1) object["stages"].push_back({{"stage", stage.number}, {"trainable", counts.n_trainable}});
      }
      std::cout << object.dump() << '\n';
      return;
    }
    for (const auto& [stage, counts] : stages) {
      if (stage.count == 1) continue;
      std::cout << stage_text(stage) << "   " << with_thousands(counts.n_trainable) << " weights train\n";
    }
    if (options->list) {
      for (const auto& row : report.trainable)
        std::cout << row.name << "  " << at::IntArrayRef(row.shape) << "  " << with_thousands(row.count) << '\n';
    } else {
      for (const auto& line : report.coverage()) std::cout << line << '\n';
    }
    std::cout << with_thousands(report.n_trainable) << " of " << with_thousands(report.n_total)
              << " weights train = " << fixed(100 * report.share(), 3) << " %\n";
  });
}

}  // namespace mpeft::app
