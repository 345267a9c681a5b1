#pragma once

#include <functional>
#include <memory>

#include <ATen/core/Tensor.h>

namespace mpeft::ops {

/// Work of a GPU that is recorded once (a CUDA graph) and replayed by one launch instead of hundreds.
class DeviceGraph {
 public:
  DeviceGraph();
  ~DeviceGraph();
  DeviceGraph(DeviceGraph&&) noexcept;
  DeviceGraph& operator=(DeviceGraph&&) noexcept;

  /// False on the CPU and in a build without CUDA.
  static bool is_available(at::Device device);

  /// Runs `body` twice, the second time recording it. It must do the same work each time, read and write tensors that
  /// stay where they are, wait for nothing and not use random numbers. What it allocates stays reserved for the graph.
  void record(at::Device device, const std::function<void()>& body);
  bool is_recorded() const;

  /// Runs what was recorded, in the order of the current stream.
  void replay();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mpeft::ops
