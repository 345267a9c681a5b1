#pragma once

#include <functional>
#include <istream>
#include <string>

#include <CLI/CLI.hpp>

namespace mpeft::app {

/// Adds a command to `mpeft`; its callback does the work and throws mpeft::Error.
#define COMMAND(name) void add_##name##_command(CLI::App& app);
#include "app/commands/commands.def"
#undef COMMAND

/// Calls `each` with the number (1-based) and the text of every line of `path` ("-": standard input). Blank lines are
/// passed on. Throws DataError when the file cannot be opened.
void for_each_line(const std::string& path, const std::function<void(int64_t number, const std::string& line)>& each);

/// Parses a line as one JSON string. Throws DataError naming the line.
std::string json_string_of_line(const std::string& line, int64_t number);

/// Parses a line as a list of token ids. Throws DataError naming the line.
std::vector<int32_t> ids_of_line(const std::string& line, int64_t number);

}  // namespace mpeft::app
