#pragma once

#include <string>

#include <c10/core/ScalarType.h>

namespace mpeft::train {

/// What may help where loss or gradient stay not finite, a line each that begins with a line break: only what the run
/// does not do already.
std::string not_finite_advice(c10::ScalarType compute_dtype, double learning_rate, double max_grad_norm);

}  // namespace mpeft::train
