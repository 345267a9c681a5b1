#include <algorithm>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <map>
#include <sys/ioctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"
#include "mpeft/core/logging.h"
#include "mpeft/core/strings.h"

#include "app/run_all/devices.h"
#include "app/run_all/experiments.h"
#include "app/run_all/schedule.h"
#include "app/run_all/supervisor.h"
#include "app/run_all/table.h"
#include "app/train_flags.h"

namespace mpeft::app {
namespace {

struct Options {
  std::string program;
  std::vector<std::string> devices, cfg;
  config::ExperimentOverrides overrides;
  int retries = 0;
  bool dry_run = false, reversed = false, wait_gpu_free = false, check_only = false;
  double interval = 1.0;
};

void add_options(CLI::App& parser, Options& options) {
  parser.add_option("program", options.program, "train, or the path of a program that takes its flags")->required();
  parser.add_option("--cfg", options.cfg, "experiment files, folders of them, patterns (quoted or not)")->required();
  parser.add_option("--device", options.devices,
                    "numbers of GPUs, or cpu; one experiment at a time on each, on one named twice two");
  parser.add_flag("--reversed", options.reversed, "the last experiment first");
  parser.add_flag("--wait_gpu_free,--wait-gpu-free", options.wait_gpu_free,
                  "start on a GPU only when no other process uses it");
  parser.add_option("--retries", options.retries, "how often to go on with a run whose process crashed")
      ->check(CLI::Range(0, 100))
      ->capture_default_str();
  parser.add_option("--interval", options.interval, "seconds between two looks at the runs")
      ->check(CLI::Range(0.05, 3600.0))
      ->capture_default_str();
  parser.add_flag("--dry-run", options.dry_run, "say what would run where, and start nothing");
  parser.add_flag_callback(
      "-q,--quiet", [] { log::set_level(log::Level::kWarning); }, "show only errors and the summary");
}

// What stands after `--`: flags of `train` for every experiment.
void parse_passed_on(std::vector<std::string> arguments, Options& options) {
  CLI::App parser{"train"};
  parser.set_help_flag();
  add_train_flags(parser, options.overrides);
  parser.add_flag("--dry-run", options.check_only);
  const auto own = [&](const char* flag, const char* why) {
    parser.add_option_function<std::vector<std::string>>(
        flag, [flag, why](const std::vector<std::string>&) { throw ConfigError(mpeft::str("-- ", flag, ": ", why)); });
  };
  own("--cfg", "name experiments before the --");
  own("--device", "name devices before the --");
  own("--output", "every experiment has its own folder; its file may say output_dir");
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 takes vectors
  try {
    parser.parse(arguments);
  } catch (const CLI::ParseError& e) {
    throw ConfigError(mpeft::str("after --, flags of train are expected: ", e.what()));
  }
}

// `run_all train.py …` is how the Python prototype is called.
bool is_our_train(const std::string& name) { return name == "train" || name == "train.py"; }

std::string program_path(const std::string& name) {
  if (is_our_train(name)) return (fs::executable_folder() / "train").string();
  if (name.find('/') == std::string::npos || !std::filesystem::exists(name)) {
    throw ConfigError(mpeft::str(name, ": expected train, or the path of a program that takes its flags"));
  }
  return name;
}

void print_plan(const Options& options, const std::vector<Experiment>& experiments) {
  int64_t n_finished = 0;
  const bool overwrite = options.overrides.flags.contains("overwrite");
  for (const auto& experiment : experiments) {
    const bool is_finished = !overwrite && is_finished_as_asked(experiment);
    n_finished += is_finished ? 1 : 0;
    std::printf("%-9s %s  →  %s\n", is_finished ? "finished" : "to run", experiment.cfg.c_str(),
                experiment.output_dir.c_str());
  }
  const auto flags = train_flag_arguments(options.overrides);
  std::printf("%zu experiments, %lld of them finished, on %s%s%s; dry run: nothing was started\n", experiments.size(),
              static_cast<long long>(n_finished), join(options.devices, ", ").c_str(),
              flags.empty() ? "" : ", each with ", join(flags, " ").c_str());
}

// On a terminal the table is cut to its width, and what went wrong is said in full below.
void print_summary(const Schedule& schedule) {
  winsize size{};
  const bool is_cut =
      ::isatty(STDOUT_FILENO) == 1 && ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 40;
  std::printf("\n");
  for (const auto& line : draw_table(schedule, Run::Clock::now(), {.width = is_cut ? size.ws_col : size_t{400}})) {
    std::printf("%s\n", line.c_str());
  }
  for (const auto& run : schedule.runs()) {
    if (is_cut && run.state == RunState::kFailed && run.error.empty())
      std::printf("%s: %s\n", run.experiment.name.c_str(), run.note.c_str());
  }
  // Many experiments fail for the same reason.
  std::map<std::string, std::vector<std::string>> experiments_of;
  for (const auto& run : schedule.runs()) {
    if (!run.error.empty()) experiments_of[run.error].push_back(run.experiment.name);
  }
  for (const auto& [error, names] : experiments_of) {
    const std::string who =
        names.size() == 1 ? names.front() : mpeft::str(names.size(), " experiments (", names.front(), ", …)");
    std::printf("\n%s: %s\n", who.c_str(), error.c_str());
  }
  std::fflush(stdout);
}

int run(Options options) {
  const bool is_ours = is_our_train(options.program);  // what devices mean to another program is its own
  options.program = program_path(options.program);
  check_device_names(options.devices);
  auto files = find_experiments(options.cfg);
  if (options.reversed) std::reverse(files.begin(), files.end());
  auto experiments = load_experiments(files, options.overrides);
  if (options.dry_run) {
    print_plan(options, experiments);
    return 0;
  }
  if (is_ours) require_devices(options.devices, built_with_cuda(), count_gpus);

  SupervisorOptions supervisor;
  supervisor.program = options.program;
  supervisor.resume = options.overrides.flags.erase("resume") > 0;
  supervisor.overwrite = options.overrides.flags.erase("overwrite") > 0;
  options.overrides.flags.erase("lock");  // every child gets it
  supervisor.check_only = options.check_only;
  supervisor.arguments = train_flag_arguments(options.overrides);
  if (options.check_only) supervisor.arguments.emplace_back("--dry-run");
  supervisor.wait_gpu_free = options.wait_gpu_free;
  supervisor.interval = options.interval;
  Schedule schedule(std::move(experiments), options.devices, options.retries);
  const int exit_code = supervise(schedule, supervisor);
  print_summary(schedule);
  return exit_code;
}

// The program between the reading of its arguments and its exit code; the only catch besides that of the parser.
int run_guarded(const Options& options, const std::vector<std::string>& passed_on) {
  try {
    Options all = options;
    parse_passed_on(passed_on, all);
    return run(std::move(all));
  } catch (const Error& e) {
    log::error(e.what());
    return static_cast<int>(e.exit_code());
  } catch (const std::exception& e) {
    log::error(e.what());
    return static_cast<int>(ExitCode::kInternal);
  }
}

}  // namespace
}  // namespace mpeft::app

int main(int argc, char** argv) {
  using namespace mpeft::app;
  std::signal(SIGPIPE, SIG_IGN);  // who reads our output may go; the experiments stay
  std::vector<std::string> own(argv + 1, argv + argc), passed_on;
  const auto separator = std::find(own.begin(), own.end(), "--");
  if (separator != own.end()) {
    passed_on.assign(std::next(separator), own.end());
    own.erase(separator, own.end());
  }
  CLI::App parser{
      "run_all: runs many experiments, one at a time on each device.\n"
      "  run_all train --device 0 1 --cfg cfg/exps/sdlora/spider/*.yaml\n"
      "  run_all train --device cpu --cfg 'cfg/exps/*/dart/*.yaml' --overwrite -- --set num_epochs=1\n"
      "Finished runs are skipped; each run writes to its own folder, what its process prints to console.txt there.",
      "run_all"};
  Options options;
  add_options(parser, options);
  add_train_flags(parser, options.overrides);
  parser.footer("What stands after -- goes to every train.");
  std::reverse(own.begin(), own.end());  // as CLI11 takes vectors
  try {
    parser.parse(own);
  } catch (const CLI::ParseError& e) {
    return parser.exit(e) == 0 ? 0 : 2;
  }
  return run_guarded(options, passed_on);
}
