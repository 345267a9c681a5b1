#include <CLI/CLI.hpp>

#include "mpeft/core/logging.h"
#include "mpeft/core/process_memory.h"

#include "app/commands/command.h"
#include "app/main_guard.h"
#include "app/version.h"

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
    try {
      program.parse(argc, argv);
    } catch (const CLI::ParseError& e) {
      const int code = program.exit(e);
      return code == 0 ? 0 : 2;
    }
    return 0;
  });
}
