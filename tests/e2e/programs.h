#pragma once

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <sys/wait.h>

#include "support/temporary_folder.h"

namespace mpeft::test {

/// How a command ended.
struct Outcome {
  int exit_code = -1;
  std::string output;  // standard output and error
};

/// Runs a command of the shell from the root of the source tree, without standard input.
inline Outcome run(const std::string& command) {
  const std::string full = "cd " MPEFT_SOURCE_DIR " && (" + command + ") 2>&1 < /dev/null";
  FILE* pipe = popen(full.c_str(), "r");
  Outcome outcome;
  std::array<char, 4096> buffer;
  while (const size_t n = fread(buffer.data(), 1, buffer.size(), pipe)) outcome.output.append(buffer.data(), n);
  const int status = pclose(pipe);
  outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return outcome;
}

inline std::string read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

inline void write(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

inline const std::string kTrain = MPEFT_BIN_DIR "/train";
inline const std::string kMpeft = MPEFT_BIN_DIR "/mpeft";
inline const std::string kRunAll = MPEFT_BIN_DIR "/run_all";

/// A model that trains in a second, on eight records of the sample.
inline std::string tiny_experiment(const TemporaryFolder& folder, const std::string& more = "") {
  write(folder / "model.yaml", "d_model: 32\nn_layer: 2\nvocab_size: 1024\n");
  const std::string cfg = (folder / "x.yaml").string();
  write(cfg, "model: " + (folder / "model.yaml").string() + R"(
tokenizer: data/sample/tokenizer.json
data: dart
data_root: data/sample
data_options: {train_file: people-train.json, val_file: people-dev.json, train_slice: {first: 40}, val_slice: {first: 4}}
num_epochs: 2
batch_size: 8
learning_rate: 0.003
prec: fp32
log_steps: 1
skip_eval: true
device: cpu
output_dir: )" + (folder / "out").string() +
                 "\n" + more);
  return cfg;
}

}  // namespace mpeft::test
