#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "peft/method_config.h"

namespace mpeft::peft {

/// The fields of an SD_LORA configuration: those of the reference's files, and ours below `selection` and `warmup`.
struct SdLoraConfig {
  /// Measure by which channels and states are chosen.
  enum class Metric {
    kALogDelta,  ///< "a_log_delta", the published code's: squared displacement of A_log
    kABarDelta   ///< "abar_delta", the paper's: change of the discretised A
  };
  /// What the warm-up trains.
  enum class Scope {
    kALog,    ///< "a_log", as the published code: A_log, and LoRA on the linear layers
    kSsmFull  ///< "ssm_full", as the paper: A_log, D, x_proj, dt_proj and conv1d, without LoRA
  };
  /// What is not trained: a share of a dimension, or a count.
  struct Frozen {
    double value = 0;
    bool is_fraction = true;
  };

  std::vector<std::string> target_modules;  ///< as written
  std::vector<std::string> column_targets;  ///< of these: slices of x_proj whose kept columns train
  std::vector<std::string> lora_targets;    ///< of these: what gets LoRA
  int64_t proj_lora_r = 0;                  ///< 0: no LoRA
  double proj_lora_alpha = 0;
  double proj_lora_dropout = 0.1;
  Frozen frozen_states, frozen_channels;
  int64_t keep_states = 0, keep_channels = 0;  ///< counts instead of num_freeze; 0: num_freeze decides
  int64_t warmup_steps = 500;                  ///< optimizer steps: num_warmup_it + 1
  Scope scope = Scope::kALog;
  Metric metric = Metric::kALogDelta;
  nlohmann::json selected;  ///< the index lists; null before they are chosen
  std::string where;        ///< the file, for messages

  /// How many states of a kept channel, and how many channels, train in a model of these sizes. Throws ConfigError when
  /// more are asked for than there are.
  int64_t n_states(int64_t d_state) const;
  int64_t n_channels(int64_t d_inner) const;

  /// adapter_config.json.
  std::string to_json(const std::string& base_model) const;
  /// The configuration of the LoRA part.
  std::string lora_json() const;
};

/// Reads and checks every field. Throws ConfigError with all problems.
SdLoraConfig read_sd_lora_config(MethodConfig& config);

}  // namespace mpeft::peft
