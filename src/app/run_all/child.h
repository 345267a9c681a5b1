#pragma once

#include <filesystem>
#include <string>
#include <sys/types.h>
#include <vector>

namespace mpeft::app {

/// How a child process ended.
struct ChildExit {
  int code = 0;    ///< when it ended by itself
  int signal = 0;  ///< when a signal ended it

  /// As a shell gives it: 128 + the signal's number.
  int exit_code() const { return signal != 0 ? 128 + signal : code; }
};

/// The ChildExit that a status of waitpid(2) says.
ChildExit to_child_exit(int wait_status);

/// "exit code 3 (data or checkpoint)", "killed by signal 9 (Killed)".
std::string describe(const ChildExit& exit);

/// Starts a program in a process group of its own (a Ctrl-C at the terminal is not meant for it but for us, who pass it
/// on), with nothing on standard input and both outputs appended to `console`. Throws ConfigError when it cannot.
pid_t start_child(const std::string& program, const std::vector<std::string>& arguments,
                  const std::vector<std::string>& environment, const std::filesystem::path& console);

}  // namespace mpeft::app
