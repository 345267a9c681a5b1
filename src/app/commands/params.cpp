#include <iostream>

#include <nlohmann/json.hpp>

#include "mpeft/core/strings.h"
#include "mpeft/model/factory.h"
#include "mpeft/peft/peft_method.h"
#include "mpeft/peft/trainable_report.h"

#include "app/commands/command.h"

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
    // Uninitialised weights are never touched: counting a 2.8b model costs no memory.
    model::MambaLM model(model::find_model_config(options->model));
    if (options->peft.empty()) {
      for (auto& parameter : model->parameters()) parameter.set_requires_grad(true);
    } else {
      peft::make_peft_method_from_files({options->peft.begin(), options->peft.end()})->inject_shapes(model);
    }
    const auto report = peft::report_trainable(model);
    if (options->json_output) {
      nlohmann::json tensors = nlohmann::json::array();
      for (const auto& row : report.trainable)
        tensors.push_back({{"name", row.name}, {"shape", row.shape}, {"count", row.count}});
      std::cout << nlohmann::json({{"trainable", report.n_trainable},
                                   {"total", report.n_total},
                                   {"share", report.share()},
                                   {"tensors", tensors}})
                       .dump()
                << '\n';
      return;
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
