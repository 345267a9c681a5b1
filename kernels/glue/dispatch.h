#pragma once

#include <type_traits>

#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include "kernels/common/half.h"
#include "kernels/glue/parallel.h"

// defines: dispatch_cpu_dtype, find_op

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

/// The dispatcher's handle of mpeft::name; Signature is the C++ function type of its schema.
template <typename Signature>
c10::TypedOperatorHandle<Signature> find_op(const char* qualified_name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(qualified_name, "").typed<Signature>();
}

}  // namespace mpeft::ops
