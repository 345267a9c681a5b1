#pragma once

#include <cstdint>

// defines: keep_in_register, SharedAddress
//
// For inner loops of a few hundred instructions: what they take from outside stays in registers, where the compiler,
// left alone, computes it again from what it came from, at every turn.

namespace mpeft::kernels {

/// x itself, from the lane itself: of what a shuffle gave the compiler knows nothing. By all lanes of a warp, in a
/// one-dimensional block.
template <typename T>
__device__ __forceinline__ T keep_in_register(T x) {
  return __shfl_sync(0xffffffffu, x, static_cast<int>(threadIdx.x) % 32);
}

/// A place in shared memory, kept in a register (keep_in_register); accesses are at so many bytes from it, aligned to
/// what they access, and stay in the order in which the program has them among themselves and beside barriers. (Stores
/// that are not made this way know nothing of the loads.)
class SharedAddress {
 public:
  __device__ __forceinline__ explicit SharedAddress(const void* place)
      : address_(keep_in_register(static_cast<uint32_t>(__cvta_generic_to_shared(place)))) {}

  __device__ __forceinline__ float4 load4(uint32_t offset) const {
    float4 x;
    asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(x.x), "=f"(x.y), "=f"(x.z), "=f"(x.w)
                 : "r"(address_ + offset));
    return x;
  }
  __device__ __forceinline__ void load(float (&x)[2], uint32_t offset) const {
    asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(x[0]), "=f"(x[1]) : "r"(address_ + offset));
  }
  __device__ __forceinline__ void store(uint32_t offset, float x) const {
    asm volatile("st.shared.f32 [%0], %1;" ::"r"(address_ + offset), "f"(x) : "memory");
  }
  __device__ __forceinline__ void store(uint32_t offset, const float (&x)[2]) const {
    asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(address_ + offset), "f"(x[0]), "f"(x[1]) : "memory");
  }

 private:
  uint32_t address_;
};

}  // namespace mpeft::kernels
