#pragma once

#include <string>
#include <vector>

#include "app/run_all/schedule.h"

namespace mpeft::app {

/// How the runs of a schedule are started.
struct SupervisorOptions {
  std::string program;                 ///< path of `train`
  std::vector<std::string> arguments;  ///< for every child, after --cfg and --device
  bool resume = false, overwrite = false;
  bool check_only = false;     ///< children run with --dry-run: they leave no run, their output is not kept
  bool wait_gpu_free = false;  ///< start nothing on a GPU that somebody else uses
  double interval = 1.0;       ///< seconds between two looks at files and GPUs
};

/// Runs everything in the schedule: one child a worker, followed through the files of its run. SIGINT, SIGTERM and
/// SIGHUP are passed on to the children as SIGINT, who save themselves, and are waited for; a second one, unless it is
/// SIGHUP, kills them. Returns the exit code.
int supervise(Schedule& schedule, const SupervisorOptions& options);

}  // namespace mpeft::app
