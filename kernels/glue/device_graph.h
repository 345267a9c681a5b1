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

  /// Calls `body` twice: the first time it runs, the second time it is recorded and does not run. It must do the same
  /// work each time, read and write tensors that stay where they are, and wait for nothing. Random numbers of the
  /// device's default generator are drawn anew at each replay, the same ones as without a graph. What it allocates
  /// stays reserved for the graph, or is shared with `memory_of`, another recorded graph: right when neither reads what
  /// the other left there. With `releases_cached` the allocator gives up what it holds for work that is not recorded.
  /// Throws what `body` throws; nothing is recorded then.
  void record(at::Device device, const std::function<void()>& body, const DeviceGraph* memory_of = nullptr,
              bool releases_cached = false);
  bool is_recorded() const;

  /// Runs what was recorded, in the order of the current stream.
  void replay();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mpeft::ops
