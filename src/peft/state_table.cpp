#include "peft/state_table.h"

#include <cmath>

#include <ATen/ops/dropout.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

namespace mpeft::peft {

LowRankFields read_low_rank(MethodConfig& config) {
  LowRankFields fields;
  fields.r = config.integer("r", 0, 1, 65536);
  fields.r_ratio = config.integer("r_ratio", 1, 1, 65536);
  fields.dropout = config.number("dropout", 0.0, 0.0, 0.999);
  if (fields.r == 0 && config.has("r_ratio")) config.problem("r_ratio", "has no effect without r");
  if (fields.r == 0 && fields.dropout > 0) config.problem("dropout", "has no effect without r");
  return fields;
}

void fill_kaiming(at::Tensor& tensor, at::Generator& generator) {
  const double bound = 1.0 / std::sqrt(static_cast<double>(tensor.size(-1)));
  tensor.uniform_(-bound, bound, generator);
}

StateTable::StateTable(int64_t rows, int64_t columns, const LowRankFields& low_rank, at::Generator& generator,
                       const std::string& where)
    : rows_(rows), columns_(columns), dropout_(low_rank.dropout) {
  if (low_rank.r == 0) {
    weight = register_parameter("weight", at::zeros({rows, columns}));
    return;
  }
  if (rows % low_rank.r_ratio != 0)
    throw ConfigError(mpeft::str(where, ": r_ratio: ", low_rank.r_ratio, " does not divide ", rows, " channels"));
  lora_A = register_parameter("lora_A", at::empty({low_rank.r, columns * low_rank.r_ratio}));
  lora_B = register_parameter("lora_B", at::zeros({rows / low_rank.r_ratio, low_rank.r}));
  fill_kaiming(lora_A, generator);
}

at::Tensor StateTable::values() {
  if (weight.defined()) return weight;
  at::Tensor A = lora_A;
  if (dropout_ > 0 && is_training()) A = A * at::dropout(at::ones({A.size(1)}, A.options()), dropout_, /*train=*/true);
  return at::mm(lora_B, A).view({rows_, columns_});
}

}  // namespace mpeft::peft
