#pragma once

#include <string>
#include <vector>

#include "mpeft/config/experiment.h"

namespace CLI {
class App;
}

namespace mpeft::app {

/// Adds the flags of `train` that change an experiment whatever its device and folder are: --model, --prec, --seed,
/// --data-root, --set, --overwrite, --resume, --lock, --debug. They fill `overrides`, which must outlive `program`.
void add_train_flags(CLI::App& program, config::ExperimentOverrides& overrides);

/// The command line that add_train_flags turns into `overrides`.
std::vector<std::string> train_flag_arguments(const config::ExperimentOverrides& overrides);

}  // namespace mpeft::app
