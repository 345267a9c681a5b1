#pragma once

#include <string>
#include <string_view>

/// Log lines to standard error (and to a file, once log_to_file was called). The library behind it (spdlog) is not
/// visible here: its fmt clashes with the one that LibTorch carries.
namespace mpeft::log {

enum class Level { kDebug, kInfo, kWarning, kError, kOff };

void set_level(Level level);
Level level();

/// Also appends every line, with an ISO 8601 time, to `path` (folders are created). Throws DataError when it cannot be
/// opened.
void log_to_file(const std::string& path);

void debug(std::string_view message);
void info(std::string_view message);
void warning(std::string_view message);
void error(std::string_view message);

/// True when standard error is a terminal that can rewrite a line: the only case in which there are live lines.
bool is_interactive();

/// True when is_interactive() and the environment does not say NO_COLOR (https://no-color.org).
bool uses_colours();

}  // namespace mpeft::log
