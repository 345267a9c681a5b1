#pragma once

#include <cstdint>
#include <string>

#include <ATen/core/Generator.h>
#include <torch/nn/module.h>

#include "peft/method_config.h"

namespace mpeft::peft {

/// How a (d_inner, d_state) table is kept: the reference's fields `r`, `r_ratio` and `dropout`.
struct LowRankFields {
  int64_t r = 0;        ///< rank of the product; 0: the table itself trains
  int64_t r_ratio = 1;  ///< the product is (d_inner / ratio, d_state * ratio), read row by row as the table
  double dropout = 0;   ///< of columns of the product's right factor, while training
};

/// Reads the three fields; problems go to `config`.
LowRankFields read_low_rank(MethodConfig& config);

/// A (rows, columns) table that trains: all of its values, or values = lora_B lora_A.
class StateTable : public torch::nn::Module {
 public:
  /// Values are zero until set; lora_A, where there is one, comes from `generator` (kaiming_uniform(a = sqrt(5))) and
  /// lora_B is zero. Throws ConfigError, starting with `where`, when r_ratio does not divide rows.
  StateTable(int64_t rows, int64_t columns, const LowRankFields& low_rank, at::Generator& generator,
             const std::string& where);

  /// (rows, columns)
  at::Tensor values();

  at::Tensor weight;          ///< (rows, columns); undefined with low rank
  at::Tensor lora_A, lora_B;  ///< (r, columns * ratio), (rows / ratio, r)

 private:
  int64_t rows_, columns_;
  double dropout_;
};

/// Fills as torch.nn.init.kaiming_uniform_(tensor, a = sqrt(5)) does: uniform(±1 / sqrt(size of the last axis)).
void fill_kaiming(at::Tensor& tensor, at::Generator& generator);

}  // namespace mpeft::peft
