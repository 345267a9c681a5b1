#include <CLI/CLI.hpp>

#include "mpeft/config/experiment.h"
#include "mpeft/core/logging.h"

#include "app/main_guard.h"
#include "app/run_experiment.h"
#include "app/version.h"

int main(int argc, char** argv) {
  using namespace mpeft;
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
    const auto flag_switch = [&](const char* option, const char* key, const char* help) {
      program.add_flag_callback(
          option, [&overrides, key] { overrides.flags[key] = "true"; }, help);
    };
    flag_value("--device", "device", "number of a GPU, or cpu (default: the first GPU if there is one)");
    flag_value("--model", "model", "instead of the file's model");
    flag_value("--prec", "prec", "bf16, fp16 or fp32");
    flag_value("--seed", "seed", "covers initial values, data order and dropout (default 42)");
    flag_value("--output", "output_dir", "output folder (default: weights/… after the experiment's path)");
    flag_value("--data-root", "data_root", "folder that holds the data sets (default: data)");
    program.add_option("--set", overrides.set, "key=value, any key of the file, dotted below sections; repeatable")
        ->allow_extra_args(false);
    flag_switch("--overwrite", "overwrite", "start anew where a run is");
    flag_switch("--resume", "resume", "go on from the last checkpoint");
    flag_switch("--lock", "lock", "skip the experiment when another process runs it");
    flag_switch("--debug", "debug", "a few examples and steps of everything");
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
    return app::run_experiment(config::load_experiment(cfg, overrides), dry_run);
  });
}
