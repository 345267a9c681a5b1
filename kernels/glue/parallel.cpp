#include "kernels/glue/parallel.h"

#include <cstdint>
#include <functional>

#include <ATen/Parallel.h>

// at::parallel_for is a template of OpenMP pragmas: without -fopenmp it compiles to one serial call and says nothing.
#ifndef _OPENMP
#error "kernels/glue/parallel.cpp needs -fopenmp (kernels/CMakeLists.txt gives it)"
#endif

namespace mpeft::ops {

void at_parallel_for(int64_t n, const std::function<void(int64_t, int64_t)>& body) { at::parallel_for(0, n, 1, body); }

}  // namespace mpeft::ops
