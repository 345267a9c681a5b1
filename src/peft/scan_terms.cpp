#include "peft/scan_terms.h"

namespace mpeft::peft {

void add_term(std::optional<at::Tensor>& term, const at::Tensor& more) { term = term ? *term + more : more; }

void scale_and_shift(std::optional<at::Tensor>& scale, std::optional<at::Tensor>& bias, const at::Tensor& by,
                     const at::Tensor& shift) {
  if (by.defined()) {
    scale = scale ? *scale * by : by;
    if (bias) bias = *bias * by;
  }
  if (shift.defined()) add_term(bias, shift);
}

}  // namespace mpeft::peft
