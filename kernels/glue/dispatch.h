#pragma once

#include <type_traits>

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include "kernels/common/half.h"

// defines: dispatch_cpu_dtype, at_parallel_for, find_op

namespace mpeft::ops {

/// Calls body(std::type_identity<scalar_t>) with the CPU kernels' type for the dtype.
template <typename Body>
void dispatch_cpu_dtype(const char* op, at::ScalarType dtype, const Body& body) {
  switch (dtype) {
    case at::kDouble:
      return body(std::type_identity<double>{});
    case at::kFloat:
      return body(std::type_identity<float>{});
    case at::kBFloat16:
      return body(std::type_identity<kernels::BFloat16>{});
    case at::kHalf:
      return body(std::type_identity<kernels::Half>{});
    default:
      TORCH_CHECK(false, op, ": no CPU kernel for dtype ", dtype);
  }
}

/// The thread pool of LibTorch, for the kernels, which do not know it.
inline void at_parallel_for(int64_t n, const std::function<void(int64_t, int64_t)>& body) {
  at::parallel_for(0, n, 1, body);
}

/// The dispatcher's handle of mpeft::name; Signature is the C++ function type of its schema.
template <typename Signature>
c10::TypedOperatorHandle<Signature> find_op(const char* qualified_name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(qualified_name, "").typed<Signature>();
}

}  // namespace mpeft::ops
