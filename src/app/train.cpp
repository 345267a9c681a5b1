#include <CLI/CLI.hpp>

#include "mpeft/config/experiment.h"
#include "mpeft/core/logging.h"
#include "mpeft/core/process_memory.h"
#include "mpeft/data/dataset.h"

#include "app/main_guard.h"
#include "app/run_experiment.h"
#include "app/train_flags.h"
#include "app/version.h"

int main(int argc, char** argv) {
  using namespace mpeft;
  keep_freed_memory();
  return app::run_guarded([&] {
    CLI::App program{
        "train: fine-tunes and evaluates a Mamba as an experiment file says.\n"
        "  train --cfg cfg/quickstart/lora.yaml --device 0"};
    std::string cfg;
    config::ExperimentOverrides overrides;
    bool dry_run = false;
    program.set_version_flag("--version", app::version_text());
    program.add_option("--cfg", cfg, "experiment file (YAML)")->required();
    const auto flag_value = [&](const char* option, const char* key, const char* help) {
      program.add_option_function<std::string>(
          option, [&overrides, key](const std::string& text) { overrides.flags[key] = text; }, help);
    };
    flag_value("--device", "device", "number of a GPU, or cpu (default: the first GPU if there is one)");
    flag_value("--output", "output_dir", "output folder (default: weights/… after the experiment's path)");
    app::add_train_flags(program, overrides);
    program.add_flag("--dry-run", dry_run, "everything up to the first step");
    program.add_flag_callback(
        "-v,--verbose", [] { log::set_level(log::Level::kDebug); }, "show more");
    program.add_flag_callback(
        "-q,--quiet", [] { log::set_level(log::Level::kWarning); }, "show only warnings and errors");
    try {
      program.parse(argc, argv);
    } catch (const CLI::ParseError& e) {
      return program.exit(e) == 0 ? 0 : 2;
    }
    return app::run_experiment(config::load_experiment(cfg, overrides, {.data_problem = data::dataset_name_problem}),
                               dry_run);
  });
}
