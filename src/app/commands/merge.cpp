#include <filesystem>
#include <iostream>

#include <nlohmann/json.hpp>

#include "mpeft/core/error.h"
#include "mpeft/core/logging.h"
#include "mpeft/core/strings.h"

#include "app/commands/command.h"
#include "app/merge_adapter.h"

namespace mpeft::app {

void add_merge_command(CLI::App& app) {
  struct Options {
    std::string model, adapter, output, dtype;
    uint64_t seed = 42;
    double tolerance = 1e-4;
    bool json_output = false;
  };
  auto options = std::make_shared<Options>();
  auto* command = app.add_subcommand("merge", "write a model folder with an adapter's change in its weights");
  command->footer(
      "Logits are compared before and after on the CPU in fp32, before the weights are rounded to --dtype; nothing is\n"
      "written when they differ. The tokenizer's files that lie beside the base come along.\n"
      "  mpeft merge --model weights/quickstart/base/model --adapter weights/quickstart/lora/adapter --output merged");
  command->add_option("--model", options->model, "folder, hub id, or a size of cfg/models (random weights)")
      ->required();
  command->add_option("--adapter", options->adapter, "adapter folder")->required();
  command->add_option("--output", options->output, "folder to write")->required();
  add_dtype_option(*command, options->dtype);
  command->add_option("--seed", options->seed, "for random weights")->capture_default_str();
  command->add_option("--tolerance", options->tolerance, "largest relative L2 difference of the logits")
      ->capture_default_str();
  command->add_flag("--json", options->json_output, "one JSON document on standard output");
  command->callback([options] {
    if (std::filesystem::exists(options->output))
      throw ConfigError(options->output + ": exists already; name another --output");
    auto adapted = load_adapted(options->model, options->adapter, options->seed);
    const double worst = merge_checked(adapted, options->tolerance);
    round_weights(adapted, options->dtype);
    model::save_model(adapted.model, options->output, files_beside(adapted.source));
    log::info(mpeft::str("wrote ", options->output, "; logits before and after differ by ", worst, " (relative L2)"));
    if (options->json_output)
      std::cout << nlohmann::json({{"output", options->output}, {"logits_difference", worst}}).dump() << '\n';
  });
}

}  // namespace mpeft::app
