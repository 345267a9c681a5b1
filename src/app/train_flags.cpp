#include "app/train_flags.h"

#include <algorithm>
#include <array>

#include <CLI/CLI.hpp>

namespace mpeft::app {
namespace {

struct Flag {
  const char* option;
  const char* key;
  bool is_switch;
  const char* help;
};

constexpr std::array kFlags = {
    Flag{"--model", "model", false, "instead of the file's model"},
    Flag{"--prec", "prec", false, "bf16, fp16 or fp32"},
    Flag{"--seed", "seed", false, "covers initial values, data order and dropout (default 42)"},
    Flag{"--data-root", "data_root", false, "folder that holds the data sets (default: data)"},
    Flag{"--overwrite", "overwrite", true, "start anew where a run is"},
    Flag{"--resume", "resume", true, "go on from the last checkpoint"},
    Flag{"--lock", "lock", true, "skip the experiment when another process runs it"},
    Flag{"--debug", "debug", true, "a few examples and steps of everything"},
};

}  // namespace

void add_train_flags(CLI::App& program, config::ExperimentOverrides& overrides) {
  for (const Flag& flag : kFlags) {
    const std::string key = flag.key;
    if (flag.is_switch) {
      program.add_flag_callback(
          flag.option, [&overrides, key] { overrides.flags[key] = "true"; }, flag.help);
    } else {
      program.add_option_function<std::string>(
          flag.option, [&overrides, key](const std::string& text) { overrides.flags[key] = text; }, flag.help);
    }
  }
  program.add_option("--set", overrides.set, "key=value, any key of the file, dotted below sections; repeatable")
      ->allow_extra_args(false);
}

std::vector<std::string> train_flag_arguments(const config::ExperimentOverrides& overrides) {
  std::vector<std::string> arguments;
  for (const std::string& assignment : overrides.set) {
    arguments.emplace_back("--set");
    arguments.push_back(assignment);
  }
  for (const Flag& flag : kFlags) {
    const auto it = overrides.flags.find(flag.key);
    if (it == overrides.flags.end()) continue;
    arguments.emplace_back(flag.option);
    if (!flag.is_switch) arguments.push_back(it->second);
  }
  return arguments;
}

}  // namespace mpeft::app
