#pragma once

#include <memory>
#include <string>

#include <CLI/CLI.hpp>

#include "mpeft/model/factory.h"
#include "mpeft/text/tokenizer.h"

namespace mpeft::app {

/// The options of every command that runs a model.
struct ModelOptions {
  std::string model;
  std::string adapter;
  std::string tokenizer;
  std::string device;
  std::string prec = "bf16";
  uint64_t seed = 42;

  /// Adds --model, --adapter, --device, --prec, --seed; --tokenizer is for commands that read texts.
  void add_to(CLI::App& command);
};

/// The model with its adapter, frozen, in eval mode, on its device.
model::MambaLM load_model(const ModelOptions& options);

/// The tokenizer that find_tokenizer (experiment_data.h) finds, as for `train`. Throws DataError saying what to do when
/// there is none.
std::unique_ptr<text::Tokenizer> load_tokenizer(const ModelOptions& options);

/// Whether load_tokenizer gives this tokenizer.
bool finds_tokenizer(const ModelOptions& options, const text::Tokenizer& tokenizer);

/// The `mpeft generate` of these options, for a shell in the same folder; defaults are not said.
std::string generate_command(const ModelOptions& options);

}  // namespace mpeft::app
