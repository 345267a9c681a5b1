#pragma once

#include "kernels/common/vec_math.h"
#include "kernels/vec_functions.h"

// defines: vec_functions (include a kernels/common/vec_*.h first)

namespace mpeft::kernels {
namespace {

template <Vec function(Vec)>
void each(const float* x, float* result, int64_t n) {
  const DenormalsAreZero denormals_are_zero;
  for (int64_t i = 0; i < n; i += Vec::kLanes) function(Vec::load(x + i)).store(result + i);
}

void exp2_of_each_product(const float* a, const float* b, float* result, int64_t n) {
  const DenormalsAreZero denormals_are_zero;
  for (int64_t i = 0; i < n; i += Vec::kLanes) {
    const Vec factor[] = {Vec::load(b + i), Vec::zero()};
    Vec power[2];
    exp2_of_products(Vec::load(a + i), factor, power);
    power[0].store(result + i);
  }
}

Vec softplus_value(Vec x) { return softplus<1>({x}).value.v[0]; }
Vec softplus_derivative(Vec x) { return softplus<1>({x}).derivative.v[0]; }

VecFunctions vec_functions() {
  return {exp2_of_each_product, each<exp>, each<sigmoid>, each<softplus_value>, each<softplus_derivative>};
}

}  // namespace
}  // namespace mpeft::kernels
