#pragma once

#include <functional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

#include "kernels/bench/op_bench.h"

// defines: median_ms, call_op, Work, make_row, check_against_reference

namespace mpeft::ops {

/// Median time of one call, warmed up.
double median_ms(at::Device device, const std::function<void()>& call);

/// Calls mpeft::name through the dispatcher, without autograd.
std::vector<c10::IValue> call_op(const char* qualified_name, std::vector<c10::IValue> arguments);

/// What a pass has to do at least.
struct Work {
  double elements = 0;
  double bytes = 0;
  double exponentials = 0;  ///< special-function results a GPU needs
  double instructions = 0;  ///< lane instructions a GPU issues
};

/// The row of a measured pass, with its rates and, on a GPU, its floor.
BenchRow make_row(const std::string& op, const std::string& pass, at::Device device, at::ScalarType dtype,
                  const BenchShape& shape, const Work& work, double ms);

/// Throws c10::Error when a result differs from the fp64 one by more than its dtype allows (relative, Frobenius norm).
void check_against_reference(const std::string& op, at::ScalarType dtype, const std::vector<at::Tensor>& results,
                             const std::vector<at::Tensor>& reference);

}  // namespace mpeft::ops
