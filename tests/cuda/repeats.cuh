#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "tests/cuda/comparison.h"
#include "tests/cuda/replay.h"

// defines: DeviceBytes, bytes_of, Snapshot, require_repeats

namespace mpeft::cuda_check {

/// An even number of bytes of device memory.
struct DeviceBytes {
  void* data;
  size_t size;

  void poison(cudaStream_t stream) const { MPEFT_CUDA_REQUIRE(cudaMemsetAsync(data, 0xff, size, stream)); }
};

template <typename T>
DeviceBytes bytes_of(const DeviceArray<T>& x) {
  return {x.data(), x.size() * sizeof(T)};
}

namespace detail {

static __global__ void set_where_different(const uint16_t* a, const uint16_t* b, size_t size, unsigned* to) {
  const size_t stride = size_t{gridDim.x} * blockDim.x;
  for (size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < size; i += stride) {
    if (a[i] != b[i]) *to = 1;
  }
}

}  // namespace detail

/// What arrays hold when it is made, to compare them with later, bit for bit, on the device: nobody waits for a copy to
/// the host.
class Snapshot {
 public:
  Snapshot(std::vector<DeviceBytes> arrays, int comparisons)
      : arrays_(std::move(arrays)), different_(std::vector<unsigned>(static_cast<size_t>(comparisons), 0)) {
    for (const DeviceBytes& array : arrays_) {
      copies_.emplace_back(array.size);
      MPEFT_CUDA_REQUIRE(cudaMemcpy(copies_.back().data(), array.data, array.size, cudaMemcpyDeviceToDevice));
    }
    MPEFT_CUDA_REQUIRE(cudaDeviceSynchronize());
  }

  /// Queues comparison `number`, from 0.
  void compare(int number, cudaStream_t stream) const {
    for (size_t i = 0; i < arrays_.size(); ++i) {
      if (arrays_[i].size == 0) continue;
      constexpr int kBlocks = 128, kThreads = 256;  // the kernel's loop takes any number
      detail::set_where_different<<<kBlocks, kThreads, 0, stream>>>(
          static_cast<const uint16_t*>(arrays_[i].data), reinterpret_cast<const uint16_t*>(copies_[i].data()),
          arrays_[i].size / sizeof(uint16_t), different_.data() + number);
      MPEFT_CUDA_REQUIRE(cudaGetLastError());
    }
  }

  /// Of each comparison, when all that was queued on `stream` is done: whether a bit differed.
  std::vector<unsigned> different(cudaStream_t stream) const {
    MPEFT_CUDA_REQUIRE(cudaStreamSynchronize(stream));
    return different_.download();
  }

 private:
  std::vector<DeviceBytes> arrays_;
  std::vector<DeviceArray<char>> copies_;
  DeviceArray<unsigned> different_;
};

/// 100 repeats of launch(stream) and three replays of it, captured in a graph, give the bits of the first run, in
/// `outputs`, and each of `wanted` is written at all; outputs and `scratch` are poisoned before each. By one thread.
template <typename Launch>
void require_repeats(Report& report, const std::string& name, const std::vector<DeviceBytes>& outputs,
                     const std::vector<DeviceBytes>& wanted, const std::vector<DeviceBytes>& scratch,
                     const Launch& launch) {
  constexpr int kRepeats = 100, kReplays = 3;
  const cudaStream_t stream = cudaStreamPerThread;
  const auto poison = [&] {
    for (const auto* arrays : {&outputs, &scratch}) {
      for (const DeviceBytes& array : *arrays) array.poison(stream);
    }
  };
  poison();
  MPEFT_CUDA_REQUIRE(cudaStreamSynchronize(stream));
  std::vector<Snapshot> untouched;
  for (const DeviceBytes& array : wanted) untouched.emplace_back(std::vector{array}, 1);
  launch(stream);
  for (size_t i = 0; i < untouched.size(); ++i) {
    untouched[i].compare(0, stream);
    report.require(untouched[i].different(stream).front() != 0,
                   name + ": number " + std::to_string(i) + " of the wanted outputs was not written");
  }
  const Snapshot first(outputs, kRepeats + kReplays);
  for (int i = 0; i < kRepeats; ++i) {
    poison();
    launch(stream);
    first.compare(i, stream);
  }
  Replay replay(launch);
  for (int i = kRepeats; i < kRepeats + kReplays; ++i) {
    poison();
    MPEFT_CUDA_REQUIRE(cudaStreamSynchronize(stream));
    replay.run();
    first.compare(i, stream);
  }
  const std::vector<unsigned> different = first.different(stream);
  for (int i = 0; i < kRepeats + kReplays; ++i) {
    report.require(different[static_cast<size_t>(i)] == 0,
                   name + (i < kRepeats ? ": differs at repeat " + std::to_string(i)
                                        : std::string(": a graph's replay differs from the launches")));
  }
}

}  // namespace mpeft::cuda_check
