#pragma once

#include <cstdint>

namespace mpeft::kernels {

/// kernels/common/vec_math.h as one instruction set has it, elementwise over n floats, n a multiple of 16. Subnormal
/// numbers count as 0.
struct VecFunctions {
  void (*exp2_of_products)(const float* a, const float* b, float* result, int64_t n);
  void (*exp)(const float* x, float* result, int64_t n);
  void (*sigmoid)(const float* x, float* result, int64_t n);
  void (*softplus)(const float* x, float* result, int64_t n);
  void (*softplus_derivative)(const float* x, float* result, int64_t n);
};

VecFunctions vec_functions_portable();
// On x86-64; to be called only where the processor has the instructions.
VecFunctions vec_functions_avx2();
VecFunctions vec_functions_avx512();

}  // namespace mpeft::kernels
