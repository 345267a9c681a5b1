#pragma once

#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "mpeft/peft/target.h"

#include "peft/method_config.h"

namespace mpeft::peft {

/// The fields of Hugging Face PEFT's LoraConfig that are honoured here, and LoRA+'s.
struct LoraConfig {
  enum class Init { kZero, kGaussian, kRandom, kPissa };  // kZero: one of A and B is; kRandom: PEFT's `false`

  int64_t r = 8;
  double lora_alpha = 8;
  double lora_dropout = 0.0;
  bool use_rslora = false;
  bool use_dora = false;
  double lr_ratio = 1.0;  ///< LoRA+: learning rate of B over that of A
  Init init = Init::kZero;
  int64_t pissa_niter = -1;   ///< subspace iterations of the approximate SVD; -1: exact
  std::string bias = "none";  ///< none, all, lora_only
  std::vector<std::string> modules_to_save;
  std::vector<std::pair<std::string, int64_t>> rank_pattern;
  std::vector<std::pair<std::string, double>> alpha_pattern;
  TargetSelection targets;
  nlohmann::json target_modules, exclude_modules;  ///< as written, for to_json

  /// Problems go to `config`, which throws them all.
  static LoraConfig read(MethodConfig& config);
  /// The content of `adapter_config.json`.
  nlohmann::json to_json(const std::string& base_model) const;

  /// PEFT's rule (`get_pattern_key`): a pattern matches the end of the path at a component's boundary.
  int64_t rank_of(const std::string& path, const std::string& where) const;
  double alpha_of(const std::string& path, const std::string& where) const;
  /// Throws ConfigError where a pattern of rank or alpha matches none of the targets' paths, except in a saved adapter.
  void check_patterns(const std::vector<std::string>& paths, const std::string& where) const;
};

}  // namespace mpeft::peft
