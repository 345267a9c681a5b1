#pragma once

#include <functional>

namespace mpeft::app {

/// Runs a program's body and turns what it throws into one message on standard error and the exit code of README, "Exit
/// codes". The only catch of the program.
int run_guarded(const std::function<int()>& body);

}  // namespace mpeft::app
