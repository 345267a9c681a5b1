#pragma once

// defines: kMovesRegisters, take_registers, give_registers
//
// Warps of a block that need few registers leave theirs to those that need many (setmaxnreg, PTX ISA). Only in code for
// sm_90a: where a program has none, kernels that rely on it are empty.

namespace mpeft::kernels {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
inline constexpr bool kMovesRegisters = true;
#else
inline constexpr bool kMovesRegisters = false;
#endif

/// A thread has kRegisters from here on, a multiple of 8; waits until others have given as many. By whole groups of
/// four warps, of which the first has a number divisible by four, where kMovesRegisters.
/// The kernel must say how many blocks share a multiprocessor (__launch_bounds__), or the assembler leaves this out.
template <int kRegisters>
__device__ __forceinline__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

}  // namespace mpeft::kernels
