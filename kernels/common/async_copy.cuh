#pragma once

#include <cstdint>

// defines: copy_async, copy_async_8, copy_async_commit, copy_async_wait, prefetch_to_second_level
//
// Copies from global to shared memory that pass no registers: any number of bytes on their way at no cost of them.

namespace mpeft::kernels {

/// 16 bytes; zeros when !valid (source is then not read).
__device__ __forceinline__ void copy_async(void* shared, const void* source, bool valid) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(source), "r"(valid ? 16 : 0));
}

/// The same with 8 bytes.
__device__ __forceinline__ void copy_async_8(void* shared, const void* source, bool valid) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(address), "l"(source), "r"(valid ? 8 : 0));
}

/// Ends the group of the copies since the last one.
__device__ __forceinline__ void copy_async_commit() { asm volatile("cp.async.commit_group;"); }

/// Waits until at most kPending of this thread's groups, the last ones, are still on their way.
template <int kPending = 0>
__device__ __forceinline__ void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

/// A hint: fetches the 128 bytes around p into the second-level cache. Safe before the data are final: that cache is
/// where every later write goes too.
__device__ __forceinline__ void prefetch_to_second_level(const void* p) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(p));
}

}  // namespace mpeft::kernels
