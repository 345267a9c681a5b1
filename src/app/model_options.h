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

  /// Adds --model, --adapter, --device, --prec, --seed.
  void add_to(CLI::App& command);
};

/// The model with its adapter, frozen, in eval mode, on its device.
model::MambaLM load_model(const ModelOptions& options);

/// The tokenizer of `--tokenizer`, or else the one in the model's folder. Throws DataError saying what to do when there
/// is neither.
std::unique_ptr<text::Tokenizer> load_tokenizer(const ModelOptions& options);

}  // namespace mpeft::app
