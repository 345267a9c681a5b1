#include "mpeft/core/logging.h"

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string_view>
#include <unistd.h>

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include "mpeft/core/error.h"

namespace mpeft::log {
namespace {

spdlog::logger& logger() {
  static const std::shared_ptr<spdlog::logger> instance = [] {
    auto sink = std::make_shared<spdlog::sinks::stderr_color_sink_st>(uses_colours() ? spdlog::color_mode::automatic
                                                                                     : spdlog::color_mode::never);
    // A person reads the message; only warnings and errors name their kind (below).
    sink->set_pattern("%v");
    auto result = std::make_shared<spdlog::logger>("mpeft", sink);
    result->flush_on(spdlog::level::debug);
    return result;
  }();
  return *instance;
}

spdlog::level::level_enum to_spdlog(Level level) {
  switch (level) {
    case Level::kDebug:
      return spdlog::level::debug;
    case Level::kInfo:
      return spdlog::level::info;
    case Level::kWarning:
      return spdlog::level::warn;
    case Level::kError:
      return spdlog::level::err;
    case Level::kOff:
      return spdlog::level::off;
  }
  return spdlog::level::info;
}

Level current_level = Level::kInfo;

}  // namespace

void set_level(Level new_level) {
  current_level = new_level;
  logger().set_level(to_spdlog(new_level));
}

Level level() { return current_level; }

void log_to_file(const std::string& path) {
  try {
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    auto sink = std::make_shared<spdlog::sinks::basic_file_sink_st>(path, /*truncate=*/false);
    sink->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %l %v");
    logger().sinks().push_back(sink);
  } catch (const std::exception& e) {
    throw DataError(path + ": cannot be opened for the log: " + e.what());
  }
}

void debug(std::string_view message) { logger().debug(message); }
void info(std::string_view message) { logger().info(message); }
void warning(std::string_view message) { logger().warn("warning: {}", message); }
void error(std::string_view message) { logger().error("error: {}", message); }

bool is_interactive() {
  static const bool interactive = [] {
    const char* terminal = std::getenv("TERM");
    return isatty(STDERR_FILENO) == 1 && (terminal == nullptr || std::string_view(terminal) != "dumb");
  }();
  return interactive;
}

bool uses_colours() {
  static const bool colours = [] {
    const char* no_color = std::getenv("NO_COLOR");
    return is_interactive() && (no_color == nullptr || *no_color == '\0');
  }();
  return colours;
}

}  // namespace mpeft::log
