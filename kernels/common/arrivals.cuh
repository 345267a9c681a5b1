#pragma once

#include <cstdint>

// defines: Arrivals
//
// A barrier of a block at which some warps arrive, without waiting, and others wait: mbarrier (PTX ISA, "Parallel
// synchronization"; its try_wait from sm_90 on). By hand, because cuda::barrier asks at every use in which memory it
// lies and sleeps between tries.

namespace mpeft::kernels {

/// In shared memory. Phases are counted from 0; one is complete when all warps that init counted have arrived. What a
/// warp wrote before it arrived is there for whoever waited for it.
class Arrivals {
 public:
  /// By one thread, before a barrier of the whole block; warps that arrive in each phase.
  __device__ __forceinline__ void init(int warps) {
    asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(address()), "r"(32 * warps) : "memory");
  }
  /// By all threads of a warp, each of them: one for all, behind __syncwarp, is right too and as fast, but racecheck
  /// (compute-sanitizer) does not see that it covers the others' accesses.
  __device__ __forceinline__ void arrive() {
    asm volatile("{ .reg .b64 phase; mbarrier.arrive.shared.b64 phase, [%0]; }" ::"r"(address()) : "memory");
  }
  /// The same if `arrives`, without a branch.
  __device__ __forceinline__ void arrive_if(bool arrives) {
    asm volatile(
        "{ .reg .pred p; .reg .b64 phase; setp.ne.u32 p, %1, 0; @p mbarrier.arrive.shared.b64 phase, [%0]; }" ::"r"(
            address()),
        "r"(static_cast<uint32_t>(arrives))
        : "memory");
  }
  /// Returns when `phase` is complete; at once for -1. It must not be further back than the last complete one: the
  /// barrier knows odd from even only.
  __device__ __forceinline__ void wait_for(int phase) {
    uint32_t complete = 0;
    do {
      asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                   : "=r"(complete)
                   : "r"(address()), "r"(phase & 1)
                   : "memory");
    } while (complete == 0);
  }

 private:
  __device__ __forceinline__ uint32_t address() const { return static_cast<uint32_t>(__cvta_generic_to_shared(this)); }

  uint64_t state_;
};

}  // namespace mpeft::kernels
