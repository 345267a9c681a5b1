#include "app/run_all/child.h"

#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

extern char** environ;

namespace mpeft::app {
namespace {

// What README, "Exit codes" says of a code.
const char* meaning(int code) {
  switch (static_cast<ExitCode>(code)) {
    case ExitCode::kOk:
      return "ok";
    case ExitCode::kInternal:
      return "internal";
    case ExitCode::kUsage:
      return "configuration or usage";
    case ExitCode::kData:
      return "data or checkpoint";
    case ExitCode::kTrainingStopped:
      return "training stopped";
    case ExitCode::kInterrupted:
      return "interrupted";
  }
  return "unknown";
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (auto& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

// The environment with `changes` ("NAME=value") in place of what it says of the same names.
std::vector<std::string> environment_with(const std::vector<std::string>& changes) {
  std::vector<std::string> result = changes;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::string_view name = text.substr(0, text.find('=') + 1);
    bool changed = false;
    for (const auto& change : changes) changed = changed || change.starts_with(name);
    if (!changed) result.emplace_back(text);
  }
  return result;
}

}  // namespace

ChildExit to_child_exit(int wait_status) {
  if (WIFSIGNALED(wait_status)) return {0, WTERMSIG(wait_status)};
  return {WEXITSTATUS(wait_status), 0};
}

std::string describe(const ChildExit& exit) {
  if (exit.signal != 0) return mpeft::str("killed by signal ", exit.signal, " (", ::strsignal(exit.signal), ")");
  return mpeft::str("exit code ", exit.code, " (", meaning(exit.code), ")");
}

pid_t start_child(const std::string& program, const std::vector<std::string>& arguments,
                  const std::vector<std::string>& environment, const std::filesystem::path& console) {
  std::vector<std::string> argv = {program};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  std::vector<std::string> envp = environment_with(environment);

  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, console.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  posix_spawn_file_actions_adddup2(&files, STDOUT_FILENO, STDERR_FILENO);

  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  posix_spawnattr_setpgroup(&attributes, 0);
  sigset_t none, usual;
  sigemptyset(&none);
  sigemptyset(&usual);
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCHLD, SIGPIPE}) sigaddset(&usual, number);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &usual);

  pid_t pid = 0;
  const int error =
      ::posix_spawn(&pid, program.c_str(), &files, &attributes, pointers(argv).data(), pointers(envp).data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  if (error != 0) {
    throw ConfigError(
        mpeft::str(program, ": cannot be started (output to ", console.string(), "): ", std::strerror(error)));
  }
  return pid;
}

}  // namespace mpeft::app
