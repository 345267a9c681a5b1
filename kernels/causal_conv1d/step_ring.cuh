#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/common/cuda_vector.cuh"

// defines: kRoundSteps, SharedStepRing, RegisterStepRing, StepRing
//
// What a thread reads of the steps ahead of it, in rounds of kRoundSteps steps. All its threads call:
//   for each of kRounds rounds: fetch its steps; end_round
//   then: begin_round, which waits for the oldest; for each step: read, then fetch the step kAhead later; end_round.

namespace mpeft::kernels {

inline constexpr int kRoundSteps = 4;

/// In shared memory, of which a thread reads only what it has fetched itself: no barrier, and no registers that wait
/// for loads.
template <typename scalar_t, int kVec, int kTensors, int kThreads>
class SharedStepRing {
 public:
  static constexpr int kRounds = 2, kAhead = kRounds * kRoundSteps;
  static constexpr int kBytes = kVec * static_cast<int>(sizeof(scalar_t));
  static constexpr int kRoundBytes = kRoundSteps * kTensors * kThreads * kBytes, kSharedBytes = kRounds * kRoundBytes;

  __device__ __forceinline__ explicit SharedStepRing(char* shared) : slot_(shared + threadIdx.x * kBytes) {}

  __device__ __forceinline__ void fetch(int step, int tensor, const scalar_t* from) {
    const auto to = static_cast<uint32_t>(__cvta_generic_to_shared(slot_ + round_ + place(step, tensor)));
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(to), "l"(from), "n"(kBytes) : "memory");
  }
  __device__ __forceinline__ void end_round() {
    asm volatile("cp.async.commit_group;" ::: "memory");
    round_ = round_ + kRoundBytes == kSharedBytes ? 0 : round_ + kRoundBytes;
  }
  __device__ __forceinline__ void begin_round() {
    asm volatile("cp.async.wait_group %0;" ::"n"(kRounds - 1) : "memory");
  }
  __device__ __forceinline__ RawVector<scalar_t, kVec> read(int step, int tensor) const {
    RawVector<scalar_t, kVec> x;
    x.load(reinterpret_cast<const scalar_t*>(slot_ + round_ + place(step, tensor)));
    return x;
  }

 private:
  static __device__ __forceinline__ int place(int step, int tensor) {
    return (step * kTensors + tensor) * kThreads * kBytes;
  }
  char* slot_;
  int round_ = 0;
};

/// In registers: single 2-byte elements are less than an asynchronous copy moves.
template <typename scalar_t, int kVec, int kTensors>
class RegisterStepRing {
 public:
  static constexpr int kRounds = 1, kAhead = kRoundSteps, kSharedBytes = 0;

  __device__ __forceinline__ explicit RegisterStepRing(char*) {}
  __device__ __forceinline__ void fetch(int step, int tensor, const scalar_t* from) { ring_[step][tensor].load(from); }
  __device__ __forceinline__ void end_round() {}
  __device__ __forceinline__ void begin_round() {}
  __device__ __forceinline__ RawVector<scalar_t, kVec> read(int step, int tensor) const { return ring_[step][tensor]; }

 private:
  RawVector<scalar_t, kVec> ring_[kRoundSteps][kTensors];
};

template <typename scalar_t, int kVec, int kTensors, int kThreads>
using StepRing = std::conditional_t<kVec * sizeof(scalar_t) >= 4, SharedStepRing<scalar_t, kVec, kTensors, kThreads>,
                                    RegisterStepRing<scalar_t, kVec, kTensors>>;

}  // namespace mpeft::kernels
