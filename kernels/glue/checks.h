#pragma once

#include <algorithm>
#include <initializer_list>

#include <ATen/core/Formatting.h>
#include <ATen/core/Tensor.h>

#include "kernels/common/sequence.h"

// defines: accumulation_dtype, check_tensor, check_packing, with_contiguous_last_axis, sequence_of, pointer_of
//
// From at::Tensor to what the kernels read: checks that name the tensor, then plain pointers and strides.

namespace mpeft::ops {

/// acc_type_t as a dtype: fp64 for fp64, else fp32.
inline at::ScalarType accumulation_dtype(at::ScalarType dtype) {
  return dtype == at::kDouble ? at::kDouble : at::kFloat;
}

/// Throws c10::Error "op: name must be ..., got ..." unless the tensor has this shape, dtype and device.
inline void check_tensor(const char* op, const char* name, const at::Tensor& tensor, at::IntArrayRef shape,
                         at::ScalarType dtype, at::Device device) {
  TORCH_CHECK(tensor.defined(), op, ": ", name, " is missing");
  TORCH_CHECK(tensor.sizes() == shape, op, ": ", name, " must have shape ", shape, ", got ", tensor.sizes());
  TORCH_CHECK(tensor.scalar_type() == dtype, op, ": ", name, " must be ", dtype, ", got ", tensor.scalar_type());
  TORCH_CHECK(tensor.device() == device, op, ": ", name, " must be on ", device, ", got ", tensor.device());
}

/// Throws unless the dtype is one the operators compute in on this device: fp32, bf16, fp16, and fp64 on the CPU.
inline void check_compute_dtype(const char* op, const char* name, const at::Tensor& tensor) {
  const auto dtype = tensor.scalar_type();
  TORCH_CHECK(dtype == at::kFloat || dtype == at::kBFloat16 || dtype == at::kHalf ||
                  (dtype == at::kDouble && !tensor.is_cuda()),
              op, ": ", name, " must be Float, BFloat16, Half or, on the CPU, Double; got ", dtype, " on ",
              tensor.device());
}

/// Throws unless lengths, (batch) int32, and cu_seqlens, (rows + 1) int32, are undefined or fit x, (batch, seqlen,
/// ...), and are not both there. On the CPU also the values of cu_seqlens: ascending from 0 to at most seqlen.
inline void check_packing(const char* op, const char* name, const at::Tensor& x, const at::Tensor& lengths,
                          const at::Tensor& cu_seqlens) {
  if (lengths.defined()) check_tensor(op, "lengths", lengths, {x.size(0)}, at::kInt, x.device());
  if (!cu_seqlens.defined()) return;
  TORCH_CHECK(!lengths.defined(), op, ": lengths and cu_seqlens exclude each other; packed rows have no padding");
  TORCH_CHECK(cu_seqlens.dim() == 1 && cu_seqlens.numel() >= 2, op,
              ": cu_seqlens must be (rows + 1) with at least one row, got ", cu_seqlens.sizes());
  check_tensor(op, "cu_seqlens", cu_seqlens, cu_seqlens.sizes(), at::kInt, x.device());
  TORCH_CHECK(x.size(0) == 1, op, ": with cu_seqlens, ", name, " must be (1, steps of all rows, ...), got ", x.sizes());
  if (!cu_seqlens.is_cpu())
    return;  // reading them there would wait for the device; the kernels cut off what lies outside
  const auto starts = cu_seqlens.contiguous();
  const auto* const begin = static_cast<const int32_t*>(starts.const_data_ptr());
  TORCH_CHECK(begin[0] == 0 && std::is_sorted(begin, begin + starts.numel()) && begin[starts.numel() - 1] <= x.size(1),
              op, ": cu_seqlens must ascend from 0 to at most ", x.size(1), ", got ", cu_seqlens);
}

/// The tensor itself when its last axis is contiguous (any other strides: a view into wider rows costs no copy), else a
/// copy.
inline at::Tensor with_contiguous_last_axis(const at::Tensor& tensor) {
  return tensor.size(-1) <= 1 || tensor.stride(-1) == 1 ? tensor : tensor.contiguous();
}

/// A single row has no stride to the next, which is what the packed layout asks for.
template <typename scalar_t>
kernels::Sequence<const scalar_t> sequence_of(const at::Tensor& tensor) {
  if (!tensor.defined()) return {};
  return {static_cast<const scalar_t*>(tensor.const_data_ptr()), tensor.size(0) > 1 ? tensor.stride(0) : 0,
          tensor.stride(1)};
}

template <typename scalar_t>
kernels::Sequence<scalar_t> mutable_sequence_of(const at::Tensor& tensor) {
  if (!tensor.defined()) return {};
  return {static_cast<scalar_t*>(tensor.mutable_data_ptr()), tensor.size(0) > 1 ? tensor.stride(0) : 0,
          tensor.stride(1)};
}

/// Null for an undefined tensor.
template <typename T>
const T* pointer_of(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<const T*>(tensor.const_data_ptr()) : nullptr;
}

template <typename T>
T* mutable_pointer_of(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<T*>(tensor.mutable_data_ptr()) : nullptr;
}

}  // namespace mpeft::ops
