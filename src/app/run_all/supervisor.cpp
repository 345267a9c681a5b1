#include "app/run_all/supervisor.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <map>
#include <memory>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"
#include "mpeft/core/logging.h"
#include "mpeft/core/strings.h"

#include "app/run_all/devices.h"
#include "app/run_all/display.h"
#include "app/run_all/gpu_monitor.h"
#include "app/run_all/table.h"

namespace mpeft::app {
namespace {

namespace sfs = std::filesystem;

// While it lives, the signals that end us and those of children wait to be asked for instead of interrupting anything.
class SignalQueue {
 public:
  SignalQueue() {
    sigemptyset(&signals_);
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGCHLD}) sigaddset(&signals_, number);
    ::sigprocmask(SIG_BLOCK, &signals_, &before_);
  }
  ~SignalQueue() { ::sigprocmask(SIG_SETMASK, &before_, nullptr); }
  SignalQueue(const SignalQueue&) = delete;
  SignalQueue& operator=(const SignalQueue&) = delete;

  // The next signal within `seconds`, or 0.
  int wait(double seconds) const {
    timespec timeout{};
    timeout.tv_sec = static_cast<time_t>(seconds);
    timeout.tv_nsec = static_cast<long>((seconds - static_cast<double>(timeout.tv_sec)) * 1e9);
    const int number = ::sigtimedwait(&signals_, nullptr, &timeout);
    return number > 0 ? number : 0;
  }

 private:
  sigset_t signals_{}, before_{};
};

// A running child and what is known of its run.
struct Child {
  pid_t pid;
  size_t run;
  sfs::path console;
  uint64_t console_begin;  // size of the console file before: an earlier attempt's output
  RunFollower follower;
  bool was_finished;        // by an earlier run, of other settings or to be replaced
  int64_t first_step = -1;  // the step that its files showed first, and when: what a resumed run did is not its pace
  Run::Clock::time_point first_seen;
};

uint64_t size_of(const sfs::path& path) {
  std::error_code error;
  const auto size = sfs::file_size(path, error);
  return error ? 0 : size;
}

// The last error that a child's output from byte `begin` on names, all its lines; "" when it names none.
std::string last_error(const sfs::path& console, uint64_t begin) {
  constexpr uint64_t kTail = 1 << 16;
  std::string text = "\n";
  try {
    const fs::MappedFile file(console);
    const uint64_t from = std::max(begin, file.size() - std::min(file.size(), kTail));
    if (from < file.size()) text += file.view().substr(from);
  } catch (const DataError&) {
    return "";
  }
  constexpr std::string_view kMark = "\nerror: ";
  const size_t at = text.rfind(kMark);
  if (at == std::string::npos) return "";
  const auto message = std::string_view(text).substr(at + kMark.size());
  return to_valid_utf8(trim(message));
}

class Supervisor {
 public:
  Supervisor(Schedule& schedule, const SupervisorOptions& options)
      : schedule_(schedule), options_(options), display_(schedule) {
    look_for_processor_workers();
    if (options.wait_gpu_free) open_gpus();
    if (options.check_only) {
      std::string name = (sfs::temp_directory_path() / "run_all-XXXXXX").string();
      if (::mkdtemp(name.data()) == nullptr) throw DataError(name + ": cannot be created: " + std::strerror(errno));
      scratch_ = name;
    }
  }
  ~Supervisor() {
    std::error_code ignored;
    if (!scratch_.empty()) sfs::remove_all(scratch_, ignored);
  }
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  void run() {
    skip_finished();
    while (!schedule_.is_over()) {
      if (n_interrupts_ == 0) start_children();
      display_.refresh();
      if (schedule_.is_over()) break;
      for (int number = signals_.wait(options_.interval); number != 0; number = signals_.wait(0)) on_signal(number);
      collect_children();
      follow_children();
    }
  }

 private:
  // A GPU that is not there is an error before anything runs.
  void open_gpus() {
    gpus_ = std::make_unique<GpuMonitor>();
    for (const auto& device : schedule_.devices()) user_of(device);
  }

  // Of the devices auto that are none of a GPU the driver knows, which takes its time to answer: it is asked only where
  // an experiment on the processor would get something.
  void look_for_processor_workers() {
    const auto n_workers_on = [&](const char* device) { return std::ranges::count(schedule_.devices(), device); };
    const int64_t n_auto = n_workers_on("auto");
    n_processor_workers_ = n_workers_on("cpu") + n_auto;
    auto_is_processor_ =
        n_auto > 0 && !environment_on_processor().empty() && auto_is_processor(built_with_cuda(), count_gpus);
    if (!auto_is_processor_) n_processor_workers_ -= n_auto;
  }

  std::vector<std::string> environment_on_processor() const {
    return processor_environment(std::thread::hardware_concurrency(), static_cast<unsigned>(n_processor_workers_),
                                 [](const char* name) { return ::getenv(name) != nullptr; });
  }

  // Who uses a worker's device; "" when it is free.
  std::string user_of(const std::string& device) const {
    return device == "cpu" ? "" : gpus_->used_by(device == "auto" ? "0" : device);
  }

  void skip_finished() {
    if (options_.overwrite || options_.check_only) return;
    auto& runs = schedule_.runs();
    for (size_t i = 0; i < runs.size(); ++i) {
      if (!is_finished_as_asked(runs[i].experiment)) continue;
      schedule_.skip(i, RunState::kFinishedBefore);
      display_.event(runs[i], state_text(runs[i]));
    }
  }

  // Whether a run may start on this worker's device now.
  bool is_usable(size_t worker) {
    const std::string& device = schedule_.devices()[worker];
    if (gpus_ == nullptr || device == "cpu") return true;
    // Our own children use it: then it is not a stranger that is waited for.
    for (const auto& [pid, child] : children_) {
      if (schedule_.runs()[child.run].device == device) return true;
    }
    std::string user;
    try {
      user = user_of(device);
    } catch (const ConfigError& e) {
      user = e.what();  // a card that fell off the bus is not free
    }
    std::string& said = said_[device];
    if (!user.empty() && said.empty()) display_.message(mpeft::str("waiting for GPU ", device, ": ", user));
    said = user;
    return user.empty();
  }

  void start_children() {
    while (const auto assignment = schedule_.next([&](size_t worker) { return is_usable(worker); })) {
      Run& run = schedule_.runs()[assignment->run];
      // Another run_all may have finished it since the beginning.
      if (!options_.overwrite && !options_.check_only && run.n_attempts == 1 && is_finished_as_asked(run.experiment)) {
        schedule_.end(assignment->run, RunState::kFinishedBefore, {}, "");
        display_.event(run, state_text(run));
        continue;
      }
      try {
        start(assignment->run);
      } catch (const Error& e) {
        schedule_.end(assignment->run, RunState::kFailed, {static_cast<int>(e.exit_code()), 0}, e.what());
        display_.event(run, state_text(run));
      }
    }
  }

  std::vector<std::string> arguments_for(const Run& run) const {
    std::vector<std::string> arguments = {"--cfg", run.experiment.cfg, "--device", run.device};
    arguments.insert(arguments.end(), options_.arguments.begin(), options_.arguments.end());
    if (!options_.check_only) arguments.emplace_back("--lock");
    // Another attempt goes on from what the one before it saved; one that never began left the folder as it was.
    const bool again = run.n_attempts > 1 && run.has_begun;
    const bool resume = again ? !run.experiment.no_save : options_.resume;
    const bool overwrite = again ? run.experiment.no_save : options_.overwrite;
    if (resume) arguments.emplace_back("--resume");
    if (overwrite) arguments.emplace_back("--overwrite");
    return arguments;
  }

  void start(size_t index) {
    Run& run = schedule_.runs()[index];
    const sfs::path folder = options_.check_only ? scratch_ : run.experiment.output_dir;
    const sfs::path console = folder / (options_.check_only ? std::to_string(index) + ".txt" : "console.txt");
    std::error_code error;
    sfs::create_directories(folder, error);
    if (error) throw DataError(mpeft::str(folder.string(), ": cannot create the output folder: ", error.message()));
    const bool on_processor = run.device == "cpu" || (run.device == "auto" && auto_is_processor_);
    const auto environment = on_processor ? environment_on_processor() : std::vector<std::string>();
    RunFollower follower(run.experiment.output_dir);
    const bool was_finished = is_finished_run(run.experiment);
    const uint64_t console_begin = size_of(console);
    const pid_t pid = start_child(options_.program, arguments_for(run), environment, console);
    children_.emplace(pid, Child{pid, index, console, console_begin, std::move(follower), was_finished, -1, {}});
    display_.event(run, mpeft::str("started on ", run.device,
                                   run.n_attempts > 1 ? mpeft::str(" (attempt ", run.n_attempts, ")") : ""));
  }

  void on_signal(int number) {
    if (number == SIGCHLD) return;
    if (number == SIGHUP && n_interrupts_ > 0) return;  // a closed connection sends it more than once
    ++n_interrupts_;
    schedule_.stop();
    const int passed_on = n_interrupts_ == 1 ? SIGINT : SIGKILL;
    for (const auto& [pid, child] : children_) ::kill(-pid, passed_on);
    if (children_.empty()) return;
    display_.message(n_interrupts_ == 1 ? "interrupted: running experiments save themselves; once more to kill them"
                                        : "killed: what was saved before is intact");
  }

  void collect_children() {
    int status = 0;
    for (pid_t pid = ::waitpid(-1, &status, WNOHANG); pid > 0; pid = ::waitpid(-1, &status, WNOHANG)) {
      const auto it = children_.find(pid);
      if (it == children_.end()) continue;
      Child child = std::move(it->second);
      children_.erase(it);
      end(child, to_child_exit(status));
    }
  }

  void end(Child& child, ChildExit exit) {
    Run& run = schedule_.runs()[child.run];
    follow(child);
    run.has_begun = run.has_begun || child.follower.has_begun();
    RunState state = RunState::kDone;
    std::string note;
    const bool stopped_by_us = n_interrupts_ > 0 && (exit.signal == SIGINT || exit.signal == SIGKILL);
    if (exit.exit_code() == static_cast<int>(ExitCode::kInterrupted) || stopped_by_us) {
      state = RunState::kInterrupted;
    } else if (exit.exit_code() != 0) {
      state = RunState::kFailed;
      const std::string error = exit.signal == 0 ? last_error(child.console, child.console_begin) : "";
      note = error.empty() ? describe(exit) : error.substr(0, error.find('\n'));
      if (!options_.check_only) note += " (" + child.console.string() + ")";
      if (options_.check_only) run.error = error;
    } else if (!options_.check_only && !is_finished_run(run.experiment)) {
      state = RunState::kTaken;  // `train --lock` steps back from a run that another process holds
    } else if (!options_.check_only && child.was_finished && !child.follower.has_begun()) {
      state = RunState::kFinishedBefore;  // as `train` said
    }
    schedule_.end(child.run, state, exit, note);
    const std::string progress = state == RunState::kDone ? progress_text(run) : "";
    display_.event(run, state_text(run) + (progress.empty() ? "" : "  " + progress));
  }

  void follow_children() {
    for (auto& [pid, child] : children_) follow(child);
  }

  void follow(Child& child) {
    Run& run = schedule_.runs()[child.run];
    const bool is_new = child.follower.poll();
    const RunProgress before = run.progress;
    run.progress = child.follower.progress();
    const auto now = Run::Clock::now();
    if (is_new && run.progress.epoch > 0 && child.first_step < 0) {
      child.first_step = run.progress.step;
      child.first_seen = now;
    }
    const int64_t n_steps = run.progress.step - child.first_step;
    if (is_new && child.first_step >= 0 && n_steps > 0 && run.progress.total_steps > 0) {
      const double seconds = std::chrono::duration<double>(now - child.first_seen).count();
      run.eta =
          seconds / static_cast<double>(n_steps) * static_cast<double>(run.progress.total_steps - run.progress.step);
    }
    if (run.progress.epoch != before.epoch || run.progress.n_evaluations != before.n_evaluations) {
      const std::string text = progress_text(run);
      if (!text.empty()) display_.event(run, text);
    }
  }

  Schedule& schedule_;
  const SupervisorOptions& options_;
  const SignalQueue signals_;
  Display display_;
  std::unique_ptr<GpuMonitor> gpus_;
  std::map<pid_t, Child> children_;
  std::map<std::string, std::string> said_;  // device -> who used it when it was last looked at
  sfs::path scratch_;
  int64_t n_processor_workers_ = 0;
  bool auto_is_processor_ = false;
  int n_interrupts_ = 0;
};

}  // namespace

int supervise(Schedule& schedule, const SupervisorOptions& options) {
  Supervisor(schedule, options).run();
  return schedule.exit_code();
}

}  // namespace mpeft::app
