#pragma once

#include <algorithm>
#include <functional>
#include <random>
#include <vector>

#include "tests/cuda/comparison.h"

// defines: median_ms, fed_ms, graph_ms, drawn

namespace mpeft::cuda_check {

/// Milliseconds of a launch on the default stream, of an idle device: median of CUDA-event timings. What the processor
/// takes to launch, after the first event, counts.
double median_ms(const std::function<void()>& launch);

/// The same in a stream that is fed: both events and what is between them are queued while the device is still busy, so
/// that the processor's part does not count. `launch` must not wait for the device.
double fed_ms(const std::function<void()>& launch);

/// Milliseconds of one of `repeats` launches after each other in a CUDA graph, without what the processor takes to
/// launch: launch(stream, 0), launch(stream, 1), ...
double graph_ms(const std::function<void(cudaStream_t, int)>& launch, int repeats = 20);

/// size random values: normal, or uniform in [low, high). A pool is repeated: drawing them all would take longer than
/// the timing.
template <typename T>
DeviceArray<T> drawn(int64_t size, double low = 0, double high = 0) {
  static std::mt19937 random(1);
  std::normal_distribution<double> normal;
  std::uniform_real_distribution<double> uniform(low, high);
  std::vector<T> pool(static_cast<size_t>(std::min<int64_t>(size, 1 << 18)) + 1);
  for (T& x : pool) from_double(low == high ? normal(random) : uniform(random), x);
  DeviceArray<T> array(static_cast<size_t>(size));
  for (int64_t i = 0; i < size; i += static_cast<int64_t>(pool.size())) {
    const auto n = static_cast<size_t>(std::min<int64_t>(static_cast<int64_t>(pool.size()), size - i));
    MPEFT_CUDA_REQUIRE(cudaMemcpy(array.data() + i, pool.data(), n * sizeof(T), cudaMemcpyHostToDevice));
  }
  return array;
}

}  // namespace mpeft::cuda_check
