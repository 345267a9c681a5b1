#include <algorithm>
#include <map>
#include <span>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "mpeft/core/error.h"
#include "mpeft/core/logging.h"
#include "mpeft/core/process_memory.h"
#include "mpeft/core/strings.h"

#include "app/commands/command.h"
#include "app/main_guard.h"
#include "app/version.h"

namespace {

// What is wrong where a command of `program` is expected, in the first argument that is no flag; "" for nothing. Of the
// commands of a command only a word right behind it is judged: behind a flag it may be the flag's.
std::string unknown_command(const CLI::App& program, std::span<const std::string> arguments) {
  std::map<std::string, const CLI::App*> commands;
  std::vector<std::string> names;  // in the order of the help
  for (const auto* command : program.get_subcommands([](const CLI::App*) { return true; })) {
    commands[command->get_name()] = command;
    names.push_back(command->get_name());
  }
  if (names.empty()) return "";
  const bool is_nested = program.get_parent() != nullptr;
  const auto is_word = [](const std::string& argument) { return !argument.starts_with("-"); };
  const auto word = is_nested ? arguments.begin() : std::ranges::find_if(arguments, is_word);
  const std::string there = mpeft::str("; there are ", mpeft::join(names, ", "), " (mpeft ",
                                       is_nested ? program.get_name() + " " : "", "COMMAND --help)");
  if (word == arguments.end()) return arguments.empty() ? "a command is missing" + there : "";
  if (!is_word(*word)) return "";
  if (const auto found = commands.find(*word); found != commands.end())
    return unknown_command(*found->second, arguments.subspan(static_cast<size_t>(word - arguments.begin()) + 1));
  return mpeft::str("there is no command '", mpeft::to_valid_utf8(*word), "'", mpeft::did_you_mean(*word, names),
                    there);
}

}  // namespace

int main(int argc, char** argv) {
  using namespace mpeft;
  keep_freed_memory();
  return app::run_guarded([&] {
    CLI::App program{
        "mpeft: tools around the fine-tuning of Mamba.  `mpeft COMMAND --help` shows a command and an example."};
    program.set_version_flag("--version", app::version_text());
    program.require_subcommand(1);
    program.add_flag_callback(
        "-v,--verbose", [] { log::set_level(log::Level::kDebug); }, "show more");
    program.add_flag_callback(
        "-q,--quiet", [] { log::set_level(log::Level::kError); }, "show only errors");
#define COMMAND(name) app::add_##name##_command(program);
#include "app/commands/commands.def"
#undef COMMAND
    const std::vector<std::string> arguments(argv + 1, argv + argc);
    if (const std::string problem = unknown_command(program, arguments); !problem.empty()) {
      log::error(problem);
      return static_cast<int>(ExitCode::kUsage);
    }
    try {
      program.parse(argc, argv);
    } catch (const CLI::ParseError& e) {
      const int code = program.exit(e);
      return code == 0 ? 0 : 2;
    }
    return 0;
  });
}
