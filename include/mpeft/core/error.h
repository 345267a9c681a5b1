#pragma once

#include <stdexcept>
#include <string>

namespace mpeft {

/// Exit codes of every executable (README, "Exit codes").
enum class ExitCode : int {
  kOk = 0,
  kInternal = 1,         ///< our bug, or an unexpected failure of a library
  kUsage = 2,            ///< configuration or command line
  kData = 3,             ///< data set, tokenizer or checkpoint
  kTrainingStopped = 4,  ///< not-finite loss, metric below its floor, untrained tensor
  kInterrupted = 130,    ///< SIGINT, SIGTERM or SIGHUP, after a clean checkpoint
};

/// Base of the errors that a user can cause; `main` prints what() alone and exits with exit_code().
class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ExitCode exit_code() const noexcept { return code_; }

 private:
  ExitCode code_;
};

/// A problem in a configuration file or on the command line: `file:line:col: key: message`, one line per problem.
class ConfigError : public Error {
 public:
  explicit ConfigError(const std::string& message) : Error(ExitCode::kUsage, message) {}
};

/// A problem in a data set, tokenizer or predictions file: path, record number and reason.
class DataError : public Error {
 public:
  explicit DataError(const std::string& message) : Error(ExitCode::kData, message) {}
};

/// A problem in a model, adapter or training checkpoint: path, tensor name, expected and found.
class CheckpointError : public Error {
 public:
  explicit CheckpointError(const std::string& message) : Error(ExitCode::kData, message) {}
};

/// Training cannot go on (not-finite loss, metric below its floor, a trainable tensor without gradient).
class TrainingStopped : public Error {
 public:
  explicit TrainingStopped(const std::string& message) : Error(ExitCode::kTrainingStopped, message) {}
};

/// The user asked to stop (SIGINT, SIGTERM); the state is already saved.
class Interrupted : public Error {
 public:
  explicit Interrupted(const std::string& message) : Error(ExitCode::kInterrupted, message) {}
};

}  // namespace mpeft
