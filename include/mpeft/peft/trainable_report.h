#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "mpeft/model/mamba_lm.h"

namespace mpeft::peft {

/// What trains: the answer to "how large is this adapter, and does it cover what I meant?".
struct TrainableReport {
  struct Row {
    std::string name;  ///< parameter name in the model
    std::vector<int64_t> shape;
    int64_t count = 0;
  };
  std::vector<Row> trainable;  ///< each trainable tensor
  int64_t n_trainable = 0;
  int64_t n_total = 0;  ///< base and adapter together
  double share() const { return n_total == 0 ? 0.0 : static_cast<double>(n_trainable) / static_cast<double>(n_total); }

  /// One line a kind of tensor with the layers it covers: "layers 0-23  out_proj LoRA r 8  442,368".
  std::vector<std::string> coverage() const;
};

/// Counts the parameters of a model with its adapters; shared tensors count once.
TrainableReport report_trainable(model::MambaLM& model);

}  // namespace mpeft::peft
