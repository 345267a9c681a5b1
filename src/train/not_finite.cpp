#include "train/not_finite.h"

#include "mpeft/core/strings.h"

namespace mpeft::train {

std::string not_finite_advice(c10::ScalarType compute_dtype, double learning_rate, double max_grad_norm) {
  std::string text = mpeft::str("\n  try a smaller --set learning_rate=… (it is ", learning_rate, ")");
  if (max_grad_norm == 0) text += ", or clip the gradient: --set max_grad_norm=1";
  // bf16 has the range of fp32, so it is rounding that fp32 would save; fp16 overflows beyond 65,504.
  if (compute_dtype == c10::ScalarType::Half) text += "\n  fp16 overflows beyond 65,504: --prec bf16 or fp32 does not";
  if (compute_dtype == c10::ScalarType::BFloat16) text += "\n  bf16 keeps 8 bits of a number: --prec fp32 keeps 24";
  return text + "\n  --overwrite starts anew";
}

}  // namespace mpeft::train
