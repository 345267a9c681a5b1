#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "mpeft/config/experiment.h"

namespace mpeft::app {

/// One experiment of a `run_all`.
struct Experiment {
  std::string cfg;                   ///< path of its file, as it is given to `train`
  std::string name;                  ///< what the table calls it: the path below cfg/exps without ".yaml"
  std::filesystem::path output_dir;  ///< where its run lies
  int64_t num_epochs = 0;
  bool no_save = false;                  ///< leaves no checkpoint: a second attempt starts anew
  bool debug = false;                    ///< a few steps of everything
  config::ExperimentConfig config = {};  ///< all of its settings, with the flags that every child gets
};

/// The experiment files that `--cfg` names: paths, folders (every .yaml below) and patterns (* ? [a-z] {a,b}), sorted
/// within one pattern, each file once. Throws ConfigError naming the nearest file when one names nothing.
std::vector<std::string> find_experiments(const std::vector<std::string>& arguments);

/// Reads and checks every file with the overrides. Throws ConfigError with the problems of all of them, two experiments
/// that write to the same folder among them.
std::vector<Experiment> load_experiments(const std::vector<std::string>& files,
                                         const config::ExperimentOverrides& overrides);

}  // namespace mpeft::app
